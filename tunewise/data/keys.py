"""The columns that decide which rows go together (`data.group`) and which come later (`data.time`)."""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any

from tunewise.data.labels import is_missing
from tunewise.data.settings import DataConfig
from tunewise.data.table import Table
from tunewise.errors import DataError


def key_columns(config: DataConfig, table: Table) -> dict[str, str]:
    """The columns that the recipe names as `group` and `time`; without a key for what it does not name.

    Raises:
        DataError: one is not there, or both are the same.
    """
    wanted = {"group": config.group, "time": config.time}
    found = {key: _find(table, key, column) for key, column in wanted.items() if column is not None}
    if len(set(found.values())) < len(found):
        raise DataError(
            f"column '{found['group']}' is named as group and as time",
            where="data.group, data.time",
            fix="leave out data.group: rows of equal time stay together anyway",
        )
    return found


def _find(table: Table, key: str, column: str | int) -> str:
    if str(column) not in table.columns and all(map(_holds_lists, table.columns.values())):
        raise DataError(
            f"there is no column '{column}': every column holds lists, one item for each word, so that a row has no "
            f"{key}",
            where=f"{table.source}, data.{key}",
            fix=f"write the sentences as JSONL or Parquet: beside words and tags, a column with the {key} of each row",
        )
    return table.find(column)


def _holds_lists(cells: Sequence[Any]) -> bool:
    return isinstance(next((cell for cell in cells if cell is not None), None), list)


def check_keys(keys: dict[str, str], text: Sequence[str], label: Sequence[str]) -> None:
    """Raises where a column is text or label as well.

    Raises:
        DataError: names column and key.
    """
    for key, column in keys.items():
        for other, columns in (("text", text), ("label", label)):
            if column in columns:
                raise DataError(
                    f"column '{column}' is named as {key} and as {other}", where=f"data.{key}", fix="correct one"
                )


def has_no_key(cell: Any) -> bool:
    """Whether a cell holds no group or time: null, space alone, NaN or NaT."""
    return is_missing(cell) or bool(cell != cell)
