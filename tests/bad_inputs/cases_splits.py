"""Columns for groups and times that would split the data otherwise than meant."""

from __future__ import annotations

from collections.abc import Callable
from typing import Any

from case import Arguments, Case, Desk, error


def days(count: int = 30) -> list[list[str]]:
    """Sound rows: text, label, customer, day."""
    return [[f"message {n}", ("yes", "no")[n % 2], f"c{n // 3}", f"2024-01-{n + 1:02}"] for n in range(count)]


def with_columns(
    rows: list[list[str]], test: list[list[str]] | None = None, **section: Any
) -> Callable[[Desk], Arguments]:
    """A recipe that splits these rows by a column."""

    def text(lines: list[list[str]]) -> str:
        return "\n".join(map(",".join, [["text", "label", "customer", "day"], *lines])) + "\n"

    def make(desk: Desk) -> Arguments:
        if test:
            desk.write("test.csv", text(test))
        return desk.train(text(rows), data_section={**section, **({"test": "test.csv"} if test else {})})

    return make


def changed(row: int, place: int, cell: str, rows: list[list[str]] | None = None) -> list[list[str]]:
    """Sound rows with another cell in one of them."""
    rows = rows or days()
    rows[row][place] = cell
    return rows


def customers_apart(desk: Desk) -> None:
    held = [{name.strip() for name in split.columns["customer"]} - {""} for split in desk.data().splits.values()]
    assert len(set.union(*held)) == sum(map(len, held)) == 10
    assert sum(map(len, desk.data().splits.values())) == 30


def both_kept(desk: Desk) -> None:
    data = desk.data()
    assert len(data.splits["test"]) == 2
    assert "c4" in {name for part in ("train", "validation") for name in data.splits[part].columns["customer"]}


CASES = (
    Case(
        "missing column",
        "group, misspelt",
        with_columns(days(), group="Customers"),
        error(
            "there is no column 'Customers'; the columns are 'text', 'label', 'customer', 'day'",
            "{folder}/data.csv",
            "did you mean 'customer'?",
        ),
    ),
    Case(
        "missing label",
        "rows without a group",
        with_columns(changed(3, 2, "", changed(29, 2, " ")), group="customer"),
        repair="data: groups: {folder}/data.csv: 2 of 30 rows have nothing in 'customer': rows 4, 30; each is a group "
        "of its own",
        proof=customers_apart,
    ),
    Case(
        "missing label",
        "rows without a time",
        with_columns(changed(3, 3, "", changed(29, 3, " ")), time="day"),
        error(
            "2 of 30 rows have no time: rows 4, 30",
            "{folder}/data.csv, row 4, column 'day'",
            "fill in the times, or take the rows out: without a time a row is neither earlier nor later",
        ),
    ),
    Case(
        "mixed types",
        "a time that is none",
        with_columns(changed(3, 3, "04.01.2024"), time="day"),
        error(
            "expected a date (2024-01-31), a date and time (2024-01-31T09:30, with or without a time zone) or a "
            "number, got '04.01.2024'",
            "{folder}/data.csv, row 4, column 'day'",
            "write every cell of the column in one of these forms; dates as year-month-day",
        ),
    ),
    Case(
        "mixed types",
        "a number among dates",
        with_columns(changed(3, 3, "1704326400"), time="day"),
        error(
            "expected a date, as in 29 rows of this column, got a number ('1704326400'), as in 1",
            "{folder}/data.csv, row 4, column 'day'",
            "write the whole column in one way, so that it is certain which row is later",
        ),
    ),
    Case(
        "class only in test",
        "of later rows alone",
        with_columns(changed(29, 1, "never"), time="day"),
        error(
            "1 class of test that no earlier row, left for train, has: 'never' (1 row)",
            "{folder}/data.csv, row 30, column 'day'",
            "make test_share and validation_share smaller, take the rows out, or leave out data.time",
        ),
    ),
    Case(
        "rows in train and test",
        "groups, told",
        with_columns(
            days(),
            [["a new one", "yes", "c4", "2024-02-01"], ["another", "no", "c99", "2024-02-01"]],
            group="customer",
            validation_share=0.1,
            split_seed=1,
        ),
        repair="data: overlap: 1 of 2 rows of test (50.0%) are of a group that is also in train: {folder}/test.csv, "
        "row 1. Scores on test are better than they will be on new groups. Kept as they are",
        proof=both_kept,
    ),
    Case(
        "rows in train and test",
        "by time",
        with_columns(changed(29, 0, "message 0"), time="day", overlap="drop"),
        repair="data: overlap: {folder}/data.csv: 1 of 19 rows of train have a text that is also in validation or "
        "test: row 1; left out of train",
        proof=lambda desk: _check_sizes(desk, {"train": 18, "validation": 5, "test": 6}),
    ),
)


def _check_sizes(desk: Desk, sizes: dict[str, int]) -> None:
    assert {name: len(split) for name, split in desk.data().splits.items()} == sizes
