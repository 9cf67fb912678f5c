"""Recipes with augmentation: what they refuse, what a run's record tells, what an estimate counts."""

from __future__ import annotations

import csv
from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest

from tests.estimated_run import assert_flops_are_estimated
from tunewise.check import check
from tunewise.errors import ModelError, RecipeError
from tunewise.recipe import Recipe, load_recipe, recipe_from, write_recipe
from tunewise.run import run
from tunewise.types import DataBundle


@pytest.fixture
def recipe(
    tiny_model: Callable[..., Path], toy_data: Callable[..., DataBundle], tmp_path: Path
) -> Callable[..., Recipe]:
    """`recipe(method, task, **sections)`: on a table of 84 rows."""

    def make(method: str = "full", task: str = "classification", **sections: dict[str, Any]) -> Recipe:
        data = toy_data("regression" if task == "regression" else "classification")
        if task == "token_classification":
            _write_words(tmp_path / "toy.conll", sections.pop("tags"))
            source = {"train": "toy.conll"}
        else:
            with open(tmp_path / "toy.csv", "w", newline="", encoding="utf-8") as file:
                writer = csv.writer(file)
                writer.writerow(["message", "label"])
                for split in data.splits.values():
                    for (text,), target in zip(split.texts, split.targets, strict=True):
                        writer.writerow([text, target if task == "regression" else data.schema.labels[target]])
            source = {"train": "toy.csv", "label": "label", "task": task}
        return recipe_from(
            {
                "model": str(tiny_model("bert", 2)),
                "method": method,
                "data": source,
                "objective": sections.get("objective", {}),
                "augment": sections.get("augment", {}),
                "train": {"epochs": 2, "threads": 1, "precision": "fp32", **sections.get("train", {})},
                "evaluate": {"resamples": 100},
            }
        )

    return make


def _write_words(path: Path, tags: tuple[str, str]) -> None:
    rows = [f"the O\nparcel {tags[0]}\nbox {tags[1]}\nis O\nlate{number} O\n" for number in range(40)]
    path.write_text("\n".join(rows), encoding="utf-8")


REFUSED: dict[str, tuple[dict[str, Any], str, str]] = {
    "mixup of words": (
        {"task": "token_classification", "tags": ("B-x", "I-x"), "augment": {"mixup": 0.2}},
        "augment.mixup",
        "mixup mixes whole rows",
    ),
    "joined entities": (
        {"task": "token_classification", "tags": ("x", "x"), "augment": {"word_dropout": 0.2}},
        "augment.word_dropout",
        "two entities would become one",
    ),
    "both": ({"augment": {"mixup": 0.2}, "objective": {"r_drop": 1.0}}, "objective.r_drop", "two passes of one"),
    "numbers": ({"task": "regression", "objective": {"r_drop": 1.0}}, "objective.r_drop", "compares probabilities"),
    "no dropout": ({"objective": {"r_drop": 1.0}, "train": {"dropout": 0}}, "objective.r_drop", "both are the same"),
}


@pytest.mark.parametrize("case", REFUSED)
def test_what_does_not_go_together_is_told_before_training(
    case: str, recipe: Callable[..., Recipe], tmp_path: Path
) -> None:
    options, where, told = REFUSED[case]
    made = recipe(**options)
    with pytest.raises(RecipeError, match=told) as problem:
        check(made, tmp_path, made.all_methods)
    assert problem.value.where == where and problem.value.fix


@pytest.mark.parametrize(
    "options",
    [
        {"augment": {"mixup": 0.2, "word_swap": 0.1, "word_dropout": 0.1}},
        {"task": "regression", "augment": {"mixup": 0.2, "word_dropout": 0.1}},
        {"task": "token_classification", "tags": ("B-x", "I-x"), "augment": {"word_dropout": 0.2, "word_swap": 0.1}},
        {"task": "token_classification", "tags": ("x", "x"), "augment": {"word_swap": 0.2}},
        {"objective": {"r_drop": 1.0, "class_weights": "balanced", "focal_gamma": 1.0}},
    ],
)
def test_what_goes_together_passes(options: dict[str, Any], recipe: Callable[..., Recipe], tmp_path: Path) -> None:
    made = recipe(**options)
    check(made, tmp_path, made.all_methods)


def test_a_model_of_synonyms_that_is_not_there_is_told_early(recipe: Callable[..., Recipe], tmp_path: Path) -> None:
    made = recipe(augment={"synonyms": 0.1, "synonym_model": "./nowhere"})
    with pytest.raises(ModelError, match="nowhere"):
        check(made, tmp_path, made.all_methods)


def test_the_model_of_synonyms_is_found_from_the_recipes_folder(recipe: Callable[..., Recipe], tmp_path: Path) -> None:
    (tmp_path / "masked").mkdir()
    made = recipe(augment={"synonyms": 0.1, "synonym_model": "masked"})
    assert made.anchored(tmp_path).augment.synonym_model == str(tmp_path / "masked")
    (tmp_path / "again.yaml").write_text(write_recipe(made), encoding="utf-8")
    assert load_recipe(tmp_path / "again.yaml") == made


def test_the_record_tells_what_was_changed(recipe: Callable[..., Recipe], tmp_path: Path) -> None:
    augment = {"word_dropout": 0.3, "share": 1.0}
    method = {"last_k": {"k": 1}}
    record = run(recipe(method, augment=augment), tmp_path / "run", folder=tmp_path)
    (told,) = [warning for warning in record.warnings if warning.startswith("augmentation")]
    rows = record.data.rows["train"]
    assert f"of {2 * rows} rows read in training, " in told
    assert record.recipe["augment"] == augment
    assert [note for note in record.notes if "not kept for training rows" in note]


@pytest.mark.parametrize("objective", [{}, {"r_drop": 1.0}])
def test_an_estimate_counts_both_passes_and_tells_of_other_words(
    objective: dict[str, Any], recipe: Callable[..., Recipe], tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    augment = {} if objective else {"word_swap": 0.4}
    made = recipe({"last_k": {"k": 1}}, objective=objective, augment=augment)
    cost = assert_flops_are_estimated(made, tmp_path, monkeypatch)
    assert any("other words" in note for note in cost.notes) == bool(augment)
