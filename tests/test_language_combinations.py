"""Options that are about labels are refused for language tasks, by name and with what to do; the usual ones are not."""

from __future__ import annotations

from pathlib import Path

import pytest

from tunewise.combinations import check_combinations
from tunewise.errors import RecipeError
from tunewise.recipe import recipe_from
from tunewise.types import Schema

TEXTS = Schema("generation", ("prompt", "answer"), "", (), "completion")
LABELS = Schema("classification", ("text",), "label", ("a", "b"))


def checked(schema=TEXTS, language=True, **changes):
    recipe = recipe_from({"model": "m", "data": {"train": "x.jsonl"}, "method": "lora", **changes})
    check_combinations(recipe, recipe.all_methods, schema, Path(), language)


@pytest.mark.parametrize(
    ("section", "option", "value"),
    [
        ("objective", "label_smoothing", 0.1),
        ("objective", "class_weights", "balanced"),
        ("objective", "focal_gamma", 2.0),
        ("objective", "r_drop", 1.0),
        ("train", "balanced_batches", True),
        ("train", "cut", "both"),
        ("train", "cut", "tail"),
        ("train", "cut", "chunks"),
        ("augment", "word_dropout", 0.1),
        ("augment", "word_swap", 0.1),
        ("augment", "mixup", 0.2),
        ("evaluate", "threshold", "f1"),
        ("evaluate", "positive", "a"),
        ("evaluate", "costs", {"a": {"b": 1.0}}),
        ("data", "balance", "over"),
        ("data", "per_class", 5),
        ("data", "labels", ["a", "b"]),
        ("data", "label_separator", "|"),
    ],
)
def test_an_option_of_labels_is_refused_where_there_are_none(section, option, value):
    given = {"train": "x.jsonl"} if section == "data" else {}
    with pytest.raises(RecipeError) as problem:
        checked(**{section: {**given, option: value}})
    assert problem.value.where == f"{section}.{option}" and "generation" in problem.value.what and problem.value.fix


def test_synonyms_are_refused():
    with pytest.raises(RecipeError, match=r"augment.synonyms does not go with the task generation"):
        checked(augment={"synonyms": 0.2})


def test_the_usual_recipe_is_not_refused():
    checked()
    checked(objective="sft", train={"max_length": 64})
    checked(schema=LABELS, language=False, objective={"label_smoothing": 0.1}, train={"balanced_batches": True})


def test_a_rate_of_new_output_layers_is_refused_where_they_are_pretrained():
    with pytest.raises(RecipeError) as problem:
        checked(method={"lora": {"head_rate": 2.0}})
    assert problem.value.where == "lora.head_rate"
    preferences = Schema("preference", ("prompt", "chosen", "rejected"), "", (), "completion")
    checked(schema=preferences, language=False, method={"lora": {"head_rate": 2.0}})  # a reward model's are new
