"""Whole runs on preferences: rates, dropout, scores and the folder that they leave."""

from __future__ import annotations

import json
import math
from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest

from tunewise.audit.audit import Audit
from tunewise.check import Found, check
from tunewise.conformance.models import SPECIAL_OF, TEXT, make_tokenizer
from tunewise.data.prepare import prepare
from tunewise.engine.text_model import load
from tunewise.errors import RecipeError
from tunewise.methods.full import Full
from tunewise.methods.lora import Lora
from tunewise.models.locate import locate
from tunewise.recipe import MethodChoice, Recipe, recipe_from
from tunewise.run import run
from tunewise.tracking.jsonl_log import read_log
from tunewise.types import ModelMap

COLUMNS = {
    "preference": ("prompt", "chosen", "rejected"),
    "unpaired_preference": ("prompt", "completion", "label"),
}


@pytest.fixture(scope="module")
def gpt2(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """A tiny GPT-2 with its output layer, and dropout of 0.1."""
    from transformers import AutoModelForCausalLM

    folder = tmp_path_factory.mktemp("gpt2")
    AutoModelForCausalLM.from_config(TEXT["gpt2"](2)).save_pretrained(folder)
    make_tokenizer(SPECIAL_OF["gpt2"]).save_pretrained(folder)
    return folder


@pytest.fixture
def recipe(gpt2: Path, tmp_path: Path) -> Callable[..., Recipe]:
    """`recipe(objective, method, judged=False, **train)`: on 60 pairs of answers, or answers that are judged."""

    def make(objective: Any, method: Any = "full", *, judged: bool = False, **train: Any) -> Recipe:
        rows = []
        for number in range(60):
            prompt = f"the order {'was late' if number % 2 else 'came'} {'today ' * (number % 5)}"
            good, bad = f" great{' service' * (number % 3)}", f" terrible{' refund' * (number % 4)}"
            if judged:
                rows.append({"prompt": prompt, "completion": bad if number % 3 else good, "label": not number % 3})
            else:
                rows.append({"prompt": prompt, "chosen": good, "rejected": bad})
        (tmp_path / "rows.jsonl").write_text("\n".join(json.dumps(row) for row in rows))
        return recipe_from(
            {
                "model": str(gpt2),
                "method": method,
                "data": {"train": "rows.jsonl"},
                "objective": objective,
                "train": {"max_steps": 2, "batch_size": 8, "threads": 1, "precision": "fp32", **train},
                "evaluate": {"resamples": 100, "generation": None},
            }
        )

    return make


def carried_out(recipe: Recipe, folder: Path) -> Any:
    """The record; without the look at the data beforehand."""
    models = {recipe.model: locate(recipe.model, folder)}
    found = Found(prepare(recipe.data, folder), models, Audit((), {}, {}))
    checked = check(recipe, folder, recipe.all_methods, found=found)
    return run(recipe, folder / "run", folder=folder, checked=checked)


def test_dpo(recipe: Callable[..., Recipe], tmp_path: Path) -> None:
    """The model has dropout and the recipe says nothing of it: the first step is at ln 2 all the same."""
    record = carried_out(recipe("dpo"), tmp_path)
    assert record.status == "finished" and record.handover.kind == "transformers"
    first = next(row for row in read_log(tmp_path / "run" / "log.jsonl") if row["event"] == "step")
    assert first["loss"] == pytest.approx(math.log(2), abs=2e-6)
    assert {"preference_accuracy", "reward_margin", "loss"} <= set(record.scores["test"])
    assert record.plans[0]["learning_rate"] == pytest.approx(0.1 * 3e-4)  # a tenth of the default of so narrow a model


def test_a_rate_that_is_given_is_the_rate(recipe: Callable[..., Recipe], tmp_path: Path) -> None:
    record = carried_out(recipe("dpo", {"full": {"learning_rate": 1e-3}}, dropout=0.3), tmp_path)
    assert record.plans[0]["learning_rate"] == 1e-3
    first = next(row for row in read_log(tmp_path / "run" / "log.jsonl") if row["event"] == "step")
    assert abs(first["loss"] - math.log(2)) > 1e-4  # dropout, where the recipe asks for it


def test_a_reward_model_judges_when_it_is_loaded(recipe: Callable[..., Recipe], tmp_path: Path) -> None:
    record = carried_out(recipe({"reward": {"centering": 0.01}}, "lora"), tmp_path)
    assert record.plans[0]["learning_rate"] == pytest.approx(Lora.default_learning_rate(_Wide(32)))
    assert set(record.scores["test"]) >= {"preference_accuracy", "reward_margin", "loss"}
    rewards = load(tmp_path / "run").scores([("the order came", " great"), ("the order came", " terrible")])
    assert rewards.shape == (2,) and rewards[0] != rewards[1]
    assert "model.scores([" in (tmp_path / "run" / "model" / "README.md").read_text()


def test_kto(recipe: Callable[..., Recipe], tmp_path: Path) -> None:
    record = carried_out(recipe("kto", judged=True), tmp_path)
    assert "loss" in record.scores["test"] and record.scores["test"]["loss"].value == pytest.approx(0.5, abs=0.05)


@pytest.mark.parametrize(("objective", "judged"), [("dpo", True), ("reward", True), ("kto", False), ("sft", False)])
def test_an_objective_for_other_rows_is_refused_before_weights_load(
    objective: str, judged: bool, recipe: Callable[..., Recipe], tmp_path: Path
) -> None:
    with pytest.raises(RecipeError) as caught:
        carried_out(recipe(objective, judged=judged), tmp_path)
    assert caught.value.where == f"objective.{objective}" and "the task is" in caught.value.what
    assert caught.value.fix.startswith("take kto" if judged else "take dpo or reward")
    assert not (tmp_path / "run").exists()


@pytest.mark.parametrize("option", ["label_smoothing", "focal_gamma", "r_drop"])
def test_options_of_classes_are_refused(option: str, recipe: Callable[..., Recipe], tmp_path: Path) -> None:
    with pytest.raises(RecipeError) as caught:
        carried_out(recipe({"reward": {}, option: 0.1}), tmp_path)
    assert caught.value.where == f"objective.{option}"


class _Wide:
    def __init__(self, width: int):
        self.width = width


def test_the_factor_of_an_objective_is_on_default_rates_alone() -> None:
    model: ModelMap = _Wide(1024)  # all that a default rate looks at
    choice = MethodChoice(name="full")
    assert choice.build(None, 0.1).learning_rate(model) == pytest.approx(0.1 * Full.default_learning_rate(model))
    assert choice.build(2e-4, 0.1).learning_rate(model) == 2e-4
    own = MethodChoice(name="full", options={"learning_rate": 1e-6, "rate_scale": 3.0})
    assert own.build(2e-4, 0.1).learning_rate(model) == pytest.approx(3e-6)
