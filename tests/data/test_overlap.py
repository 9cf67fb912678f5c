"""Texts that two splits share: counted exactly, left out of the earlier one, or refused."""

from __future__ import annotations

import csv
from pathlib import Path

import pytest
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st

from tunewise.data.prepare import prepare
from tunewise.data.settings import DataConfig
from tunewise.errors import DataError

Rows = list[tuple[str, str]]


def rows(numbers) -> Rows:
    return [(f"message {number}", ("late", "broken")[number % 2]) for number in numbers]


def bundle(folder: Path, train: Rows, test: Rows, validation: Rows | None = None, **options):
    given = {"train": train, "test": test, **({"validation": validation} if validation else {})}
    for name, part in given.items():
        with (folder / f"{name}.csv").open("w", newline="", encoding="utf-8") as file:
            csv.writer(file).writerows([("text", "label"), *part])
    config = DataConfig(**{name: f"{name}.csv" for name in given}, text="text", label="label", **options)
    return prepare(config, folder)


def steps(data, name: str):
    return [(step.rows_in, step.rows_out, step.reason) for step in data.steps if step.name == name]


def test_warned_with_counts_and_kept(tmp_path):
    data = bundle(tmp_path, rows(range(40)), rows([3, 8, 50, 51]), rows([8, 60]))
    assert [(*found[:2], found[2].partition(":")[0]) for found in steps(data, "overlap")] == [
        (2, 2, "1 of 2 rows of validation (50.0%) have a text that is also in train"),
        (4, 4, "2 of 4 rows of test (50.0%) have a text that is also in train"),
        (4, 4, "1 of 4 rows of test (25.0%) have a text that is also in validation"),
    ]
    assert [len(split) for split in data.splits.values()] == [40, 2, 4]


def test_dropped_from_the_earlier_split(tmp_path):
    data = bundle(tmp_path, rows(range(40)), rows([3, 8, 50, 51]), rows([8, 60]), overlap="drop")
    assert [(*found[:2], found[2]) for found in steps(data, "overlap")] == [
        (
            40,
            38,
            "train.csv: 2 of 40 rows of train have a text that is also in validation or test: rows 4, 9; left out of "
            "train",
        ),
        (
            2,
            1,
            "validation.csv: 1 of 2 rows of validation have a text that is also in test: row 1; left out of validation",
        ),
    ]
    assert [len(split) for split in data.splits.values()] == [38, 1, 4]


def test_an_error_names_every_pair(tmp_path):
    with pytest.raises(DataError) as caught:
        bundle(tmp_path, rows(range(40)), rows([3, 8, 50, 51]), rows([8, 60]), overlap="error")
    assert caught.value.what.count("have a text that is also in") == 3
    assert "test.csv, rows 1, 2" in caught.value.what and "validation.csv, row 1" in caught.value.what
    assert not steps(bundle(tmp_path, rows(range(40)), rows([50, 51]), overlap="error"), "overlap")


def test_what_cannot_be_dropped(tmp_path):
    with pytest.raises(DataError, match="no row of class 'broken' is left in train"):
        bundle(tmp_path, [*rows(range(0, 40, 2)), *rows([1, 3])], rows([1, 3]), overlap="drop")
    with pytest.raises(DataError, match="no row of validation is left"):
        bundle(tmp_path, rows(range(40)), rows([50, 51]), rows([50]), overlap="drop")


def test_what_is_split_off_shares_no_text_even_where_texts_repeat(tmp_path):
    data = bundle(tmp_path, rows(range(40)) * 2, rows([50, 51]), overlap="error")
    assert sum(map(len, data.splits.values())) == 82
    assert steps(data, "repeated rows") == [
        (
            80,
            80,
            "train.csv: 40 of 80 rows repeat text and label of an earlier row: rows 41, 42, 43, 44, 45 and 35 more. "
            "Kept as they are",
        )
    ]


@settings(max_examples=25, deadline=None, derandomize=True, suppress_health_check=[HealthCheck.function_scoped_fixture])
@given(
    train=st.lists(st.integers(0, 30), min_size=20, max_size=40),
    test=st.lists(st.integers(20, 50), min_size=2, max_size=20),
)
def test_planted_duplicates_and_overlap_are_counted_to_the_row(tmp_path, train, test):
    every = rows(range(100, 140))  # both classes, whatever was drawn
    train, test = [*every, *rows(train)], rows(test)
    data = bundle(tmp_path, train, test, validation=rows([200, 201]))
    for name, part in (("train", train), ("test", test)):
        repeated = len(part) - len(set(part))
        told = [reason for *_, reason in steps(data, "repeated rows") if reason.startswith(f"{name}.csv")]
        assert len(told) == bool(repeated)
        assert all(f"{name}.csv: {repeated} of {len(part)} rows repeat" in reason for reason in told)
    shared = sum(text in dict(train) for text, _ in test)
    assert [reason.partition(" of")[0] for *_, reason in steps(data, "overlap")] == [str(shared)] * bool(shared)
    dropped = bundle(tmp_path, train, test, validation=rows([200, 201]), overlap="drop")
    left = sum(text not in dict(test) for text, _ in train)
    assert len(dropped.splits["train"]) == left and len(dropped.splits["test"]) == len(test)
