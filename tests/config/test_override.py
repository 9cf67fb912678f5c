"""Overrides: what each sets, and what is said of the wrong ones."""

from __future__ import annotations

import copy

import pytest

from tunewise.config.override import apply_overrides, override
from tunewise.config.yaml_file import Located
from tunewise.errors import RecipeError

DATA = {"model": "m", "train": {"epochs": 3}, "methods": ["head", {"lora": {"rank": 8}}], "method": "lora"}


@pytest.mark.parametrize(
    ("overrides", "key", "value"),
    [
        (["train.epochs=5"], "train", {"epochs": 5}),
        (["train.epochs=5", "train.epochs=6"], "train", {"epochs": 6}),
        (["train.batch_size=4"], "train", {"epochs": 3, "batch_size": 4}),
        (["train = {max_steps: 4}"], "train", {"max_steps": 4}),
        (["train.epochs="], "train", {"epochs": None}),
        (["evaluate.positive=no"], "evaluate", {"positive": "no"}),
        (["data.test=a=b.csv"], "data", {"test": "a=b.csv"}),
        (["methods.1.lora.alpha=1"], "methods", ["head", {"lora": {"rank": 8, "alpha": 1}}]),
        (["methods.0=full"], "methods", ["full", {"lora": {"rank": 8}}]),
        (["methods=[lora]", "methods.0.lora.rank=4"], "methods", [{"lora": {"rank": 4}}]),
        (["method.lora.rank=4"], "method", {"lora": {"rank": 4}}),
    ],
)
def test_sets_a_value(overrides, key, value):
    before = copy.deepcopy(DATA)
    made = apply_overrides(DATA, overrides)
    assert made[key] == value
    assert {name: inner for name, inner in made.items() if name != key} == {
        name: inner for name, inner in DATA.items() if name != key
    }
    assert before == DATA


@pytest.mark.parametrize("text", ["train.epochs", "=5", "a..b=1", ".a=1", "a.=1", ""])
def test_refuses_another_form(text):
    with pytest.raises(RecipeError, match="expected key=value") as caught:
        apply_overrides(DATA, [text])
    assert f"`{text}`" in caught.value.what
    assert "--set train.epochs=5" in caught.value.fix


@pytest.mark.parametrize("part", ["2", "-1", "lora"])
def test_refuses_to_count_beyond_a_list(part):
    with pytest.raises(RecipeError, match="item of a list of 2, from 0") as caught:
        apply_overrides(DATA, [f"methods.{part}=x"])
    assert caught.value.where == f"--set methods.{part}=x"


def test_names_the_override_whose_value_is_not_yaml():
    with pytest.raises(RecipeError, match="bracket is not closed") as caught:
        apply_overrides(DATA, ["train.epochs=[1"])
    assert caught.value.where.startswith("--set train.epochs=[1")


def test_remembers_which_override_set_a_key():
    located = Located(DATA, "r.yaml", {("model",): 1, ("train",): 2, ("train", "epochs"): 3, ("methods",): 4})
    made = override(located, ["train.epochs=5", "methods.1.lora.rank=4", "model.x=1"])
    assert made.place(("train", "epochs")) == "--set train.epochs=5"
    assert made.place(("train", "batch_size")) == "r.yaml:2"
    assert made.place(("methods", 1, "lora", "rank")) == "--set methods.1.lora.rank=4"
    assert made.place(("methods", 0)) == "r.yaml:4"
    assert made.place(("model",)) == "--set model.x=1"
    assert located.overrides == {}
