"""Training rows that repeat an earlier one: left out by `data.clean.duplicates`, counted, and never of a test set."""

from __future__ import annotations

import csv
import random
import string
from pathlib import Path

import pytest
from hypothesis import given
from hypothesis import strategies as st
from pydantic import ValidationError

from tunewise.cleaning.settings import CleanConfig
from tunewise.data.clean import Rows
from tunewise.data.prepare import prepare
from tunewise.data.repeats import without_repeats
from tunewise.data.settings import DataConfig
from tunewise.data.table import Table

Row = tuple[str, str]


def bundle(folder: Path, train: list[Row], test: list[Row] | None = None, **options):
    for name, rows in (("train", train), ("test", test)):
        if rows is not None:
            with (folder / f"{name}.csv").open("w", newline="", encoding="utf-8") as file:
                csv.writer(file).writerows([("text", "label"), *rows])
    given = {"train": "train.csv", **({"test": "test.csv"} if test is not None else {})}
    return prepare(DataConfig(**given, text="text", label="label", **options), folder)


def messages(count: int) -> list[Row]:
    """Rows that are not nearly equal: five words of random letters."""
    draw = random.Random(0)
    words = [["".join(draw.choices(string.ascii_lowercase, k=6)) for _ in range(5)] for _ in range(count)]
    return [(" ".join(row), ("late", "broken")[number % 2]) for number, row in enumerate(words)]


def steps(data, name: str) -> list[tuple[int, int, str]]:
    return [(step.rows_in, step.rows_out, step.reason) for step in data.steps if step.name == name]


def test_exact_repeats_go_and_another_label_stays(tmp_path):
    first, *rest = messages(40)
    other = (first[0], "broken")
    data = bundle(tmp_path, [first, *rest, first, other, first], clean={"duplicates": "exact"})
    (told,) = steps(data, "duplicates")
    assert told == (
        43,
        41,
        "train.csv: 2 of 43 rows repeat text and label of an earlier row: rows 41, 43; left out",
    )
    numbers = sorted(int(row) for split in data.splits.values() for row in split.rows)
    assert numbers == [*range(1, 41), 42]
    assert not steps(data, "repeated rows")


def test_near_repeats_go_too(tmp_path):
    rows = messages(40)
    near = [(f"{rows[3][0].upper()}!", rows[3][1]), (f"{rows[5][0]} now", rows[4][1]), rows[7]]
    near.append(near[0])
    data = bundle(tmp_path, rows + near, clean={"duplicates": "near", "near": 0.8})
    ((before, after, reason),) = steps(data, "duplicates")
    assert (before, after) == (44, 41)
    assert "exactly (2) or nearly (1; similarity of at least 0.8): rows 41, 43, 44; left out" in reason


def test_without_the_option_all_stay(tmp_path):
    first, *rest = messages(40)
    data = bundle(tmp_path, [first, *rest, first])
    assert not steps(data, "duplicates")
    assert sum(len(split) for split in data.splits.values()) == 41


def test_given_test_rows_stay_as_they_are(tmp_path):
    rows, held = messages(40), [("a test row of its own", "late")] * 3
    data = bundle(tmp_path, rows + rows[:2], held, clean={"duplicates": "near"})
    assert len(data.splits["test"]) == 3
    assert steps(data, "duplicates")[0][:2] == (42, 40)


def test_no_repeated_row_is_in_two_splits_that_are_cut_off(tmp_path):
    rows = messages(60)
    noisy = [(text.capitalize() + "...", label) for text, label in rows]
    data = bundle(tmp_path, rows + noisy, clean={"duplicates": "near"})
    assert sum(len(split) for split in data.splits.values()) == 60
    assert all((split.rows <= 60).all() for split in data.splits.values())


@given(st.lists(st.tuples(st.sampled_from("abc"), st.sampled_from("xy")), min_size=1))
def test_exact_is_the_first_of_each_pair(pairs):
    texts = tuple((text,) for text, _ in pairs)
    rows = Rows(Table("t.csv", {}), tuple(range(len(pairs))), texts, tuple(label for _, label in pairs))
    kept, _ = without_repeats(CleanConfig(duplicates="exact"), rows)
    assert list(zip(kept.texts, kept.values, strict=True)) == [((text,), label) for text, label in dict.fromkeys(pairs)]


def test_several_labels_in_another_order_are_the_same(tmp_path):
    texts = (("one",), ("one",), ("one",))
    rows = Rows(Table("t.csv", {}), (0, 1, 2), texts, (("a", "b"), ("b", "a"), ("a",)))
    assert without_repeats(CleanConfig(duplicates="exact"), rows)[0].indices == (0, 2)


@pytest.mark.parametrize("options", [{"duplicates": "all"}, {"near": 0.4}, {"near": 1.1}])
def test_bad_values_are_refused(options):
    with pytest.raises(ValidationError):
        CleanConfig(**options)
