"""Texts that are nearly equal in two splits: told, left out of the earlier one, or refused."""

from __future__ import annotations

import csv
import random
import string
from pathlib import Path

import pytest

from tunewise.data.near_overlap import find_near_overlaps
from tunewise.data.prepare import prepare
from tunewise.data.settings import DataConfig
from tunewise.errors import DataError

Row = tuple[str, str]


def messages(count: int, seed: int = 0) -> list[Row]:
    """Rows that are not nearly equal: five words of random letters."""
    draw = random.Random(seed)
    words = [["".join(draw.choices(string.ascii_lowercase, k=6)) for _ in range(5)] for _ in range(count)]
    return [(" ".join(row), ("late", "broken")[number % 2]) for number, row in enumerate(words)]


def edited(row: Row) -> Row:
    return f"{row[0].capitalize()} now!", row[1]


def bundle(folder: Path, parts: dict[str, list[Row]], **options):
    for name, rows in parts.items():
        with (folder / f"{name}.csv").open("w", newline="", encoding="utf-8") as file:
            csv.writer(file).writerows([("text", "label"), *rows])
    sources = {name: f"{name}.csv" for name in parts}
    return prepare(DataConfig(**sources, text="text", label="label", overlap_near=True, **options), folder)


def steps(data) -> list[tuple[int, int, str]]:
    return [(step.rows_in, step.rows_out, step.reason) for step in data.steps if step.name == "near overlap"]


@pytest.fixture
def parts() -> dict[str, list[Row]]:
    """Rows 4 and 9 of train are nearly in test, row 5 exactly; row 2 of train nearly in validation; row 1 of validation
    nearly in test."""
    train, rest = messages(40), messages(8, seed=1)
    return {
        "train": train,
        "validation": [rest[0], edited(train[1]), rest[1]],
        "test": [edited(train[3]), rest[2], edited(train[8]), train[4], edited(rest[0])],
    }


def test_told_and_kept(tmp_path, parts):
    data = bundle(tmp_path, parts)
    assert [(before, after, reason.partition(" (similarity")[0]) for before, after, reason in steps(data)] == [
        (3, 3, "1 of 3 rows of validation (33.3%) have a text that is nearly equal to one in train"),
        (5, 5, "2 of 5 rows of test (40.0%) have a text that is nearly equal to one in train"),
        (5, 5, "1 of 5 rows of test (20.0%) have a text that is nearly equal to one in validation"),
    ]
    assert "test.csv, rows 1, 3." in steps(data)[1][2]
    assert [len(split) for split in data.splits.values()] == [40, 3, 5]


def test_left_out_of_the_earlier_split(tmp_path, parts):
    data = bundle(tmp_path, parts, overlap="drop")
    assert [(before, after) for before, after, _ in steps(data)] == [(39, 36), (3, 2)]
    assert "rows 2, 4, 9; left out of train" in steps(data)[0][2]
    assert set(range(1, 41)) - set(data.splits["train"].rows.tolist()) == {2, 4, 5, 9}
    assert data.splits["validation"].rows.tolist() == [2, 3]
    assert len(data.splits["test"]) == 5
    assert not list(find_near_overlaps({name: split.texts for name, split in data.splits.items()}, 0.7))


def test_refused(tmp_path, parts):
    parts["test"].remove(parts["train"][4])
    with pytest.raises(DataError, match=r"nearly equal to one in train .* rows 1, 3; 1 of 4 rows"):
        bundle(tmp_path, parts, overlap="error")


def test_splits_that_are_cut_off_are_looked_at_too(tmp_path):
    rows = messages(40)
    data = bundle(tmp_path, {"train": rows + [edited(row) for row in rows]}, overlap="drop")
    assert steps(data)
    assert not list(find_near_overlaps({name: split.texts for name, split in data.splits.items()}, 0.7))


def test_no_class_is_lost(tmp_path):
    rows = messages(20)
    rare = (rows[1][0] + " x", "rare")
    with pytest.raises(DataError, match=r"no row of class 'rare' is left in train"):
        bundle(tmp_path, {"train": [*rows, rare], "test": [edited(rare), rows[0]]}, overlap="drop")


def test_off_unless_asked_for(tmp_path, parts):
    for name, rows in parts.items():
        with (tmp_path / f"{name}.csv").open("w", newline="", encoding="utf-8") as file:
            csv.writer(file).writerows([("text", "label"), *rows])
    sources = {name: f"{name}.csv" for name in parts}
    assert not steps(prepare(DataConfig(**sources, text="text", label="label"), tmp_path))
