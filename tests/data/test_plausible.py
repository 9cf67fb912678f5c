"""Labels that are allowed and look like a mistake are told, with counts; usual ones are not."""

from __future__ import annotations

from pathlib import Path

import pytest

from tunewise.data.prepare import prepare
from tunewise.data.settings import DataConfig

WORDS = ["good morning", "a late parcel", "where is it", "thank you all", "no answer yet"]


def notes(tmp_path: Path, labels: list[str], *, validation: bool = False, **more: str) -> list[str]:
    """What is told of a file with a row for each label."""
    rows = [f"{WORDS[place % 5]} {place}\t{label}" for place, label in enumerate(labels)]
    (tmp_path / "data.tsv").write_text("text\tlabel\n" + "\n".join(rows) + "\n")
    given = {}
    if validation:
        (tmp_path / "validation.tsv").write_text("text\tlabel\n" + "\n".join(rows[:2]) + "\n")
        given = {"validation": "validation.tsv", "test": "validation.tsv"}
    data = prepare(DataConfig(train="data.tsv", text="text", label="label", **given, **more), tmp_path)
    found = [step for step in data.steps if step.name == "plausible labels"]
    assert all(step.rows_in == step.rows_out and step.reason.endswith("Kept as they are") for step in found)
    return [step.reason.removeprefix("data.tsv: ").removesuffix(". Kept as they are") for step in found]


@pytest.mark.parametrize(
    ("labels", "more"),
    [
        (["yes", "no"] * 20, {}),
        (["yes"] * 95 + ["no"] * 5, {}),
        ([f"{number / 7:.2f}" for number in range(60)], {}),
        ([str(number % 5 + 1) for number in range(60)], {"task": "regression"}),
        ([str(number * 3) for number in range(30)] * 3, {}),
        (["a|b", "a", "b|c", "c"] * 10, {"label_separator": "|"}),
    ],
)
def test_usual_labels_are_not_remarked_on(labels: list[str], more: dict[str, str], tmp_path: Path) -> None:
    assert notes(tmp_path, labels, **more) == []


@pytest.mark.parametrize(
    ("labels", "told", "more"),
    [
        ([f"id{number % 17}" for number in range(40)], "17 classes for 40 rows: is it the right column?", {}),
        (
            [str(number % 17) for number in range(40)],
            "17 classes for 40 rows: is it the right column?; if they are quantities, set `task: regression`",
            {},
        ),
        (
            ["ham"] * 97 + ["spam"] * 3,
            "97 of 100 rows (97.0%) are 'ham': a model that always says so looks good by accuracy; choose by f1_macro "
            "or average precision, and see objective.class_weights",
            {},
        ),
        (
            [str(number % 25) for number in range(100)],
            "the numbers are 0, 1, ... 24 without a gap, as if they named 25 classes; if they do, set "
            "`task: classification`",
            {},
        ),
        (["0.5"] * 98 + ["1.5", "2.5"], "98 of 100 rows (98.0%) have the number 0.5", {"task": "regression"}),
        (
            [f"{number / 7:.2f}" for number in range(60)] + ["999999", "999999", "-999999"],
            "3 rows have numbers far beyond the others (-999999, 999999): do they stand for a missing value?",
            {},
        ),
        (
            ["a", "b", "c"] * 20,
            "every row has exactly one label; if that is always so, set `task: classification`",
            {"label_separator": "|"},
        ),
        (
            ["a|b", "a|c", "a"] * 20,
            "labels that every row has, so that nothing can be learned of them: 'a'",
            {"label_separator": "|"},
        ),
        (
            ["a|b", "a", "b"] * 20 + ["b|c"],
            "labels with one training row can hardly be learned: 'c'",
            {"label_separator": "|"},
        ),
    ],
)
def test_what_looks_like_a_mistake_is_told(labels: list[str], told: str, more: dict[str, str], tmp_path: Path) -> None:
    assert notes(tmp_path, labels, **more) == [told]


def test_classes_with_one_row_are_told_where_nothing_is_split_off(tmp_path: Path) -> None:
    labels = ["yes", "no"] * 20 + ["perhaps"]
    assert notes(tmp_path, labels) == []  # the split tells it
    assert notes(tmp_path, labels, validation=True) == [
        "classes with one training row can hardly be learned: 'perhaps'"
    ]
