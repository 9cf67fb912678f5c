"""Label cells -> class names, sets of class names, or numbers; and those -> target arrays."""

from __future__ import annotations

import math
import re
from collections import Counter
from collections.abc import Hashable, Iterable, Sequence
from typing import Any

import numpy as np

from tunewise.data.table import Table, as_number, as_text, check_one_kind, count_rows, kind, listed, nearest, short
from tunewise.data.tags import Tags
from tunewise.errors import DataError
from tunewise.types import IMAGE_GENERATION, Schema, Task

Label = str | tuple[str, ...] | float | None
"""A class name, the names of a multi-label row, the tags of a row's words (`Tags`), or a number; None where the row has
no label."""

_WHOLE = re.compile(r"-?[0-9]{1,18}")
_SET = {"1": True, "1.0": True, "true": True, "0": False, "0.0": False, "false": False}


def read_labels(table: Table, columns: Sequence[str], task: Task, separator: str | None) -> list[Label]:
    """The label of every row, None where the cell is empty.

    Class names are the text in the file ("NA" and "None" too); whole numbers become "1", truth values "true" and
    "false". Multi-label: a list, the parts of a cell between separators (without the space around them), or the names
    of the columns that hold 1. An empty list, and an empty cell in a column with a separator, is a row to which no
    label applies; null is a row without a label.

    Raises:
        DataError: a cell that is no such thing; names its row.
    """
    if len(columns) > 1:
        return _from_columns(table, columns)
    (column,) = columns
    cells = table.columns[column]
    found = check_one_kind(table, column)
    if task == "regression":
        return [_number(cell, table, index, column) for index, cell in enumerate(cells)]
    if task == "multilabel":
        return _from_cells(table, column, found, separator)
    if found in ("list", "object", "bytes"):
        raise DataError(
            f"expected a class in each cell, got {found}",
            where=f"{table.source}, column '{column}'",
            fix="lists of labels make a multi-label task: leave out data.task" if found == "list" else None,
        )
    _check_one_spelling(table, column)
    return [_class_name(cell, table, index, column) for index, cell in enumerate(cells)]


def comparable(value: Label) -> Hashable:
    """A label that equals another whatever the order in which several are named."""
    return frozenset(value) if isinstance(value, tuple) and not isinstance(value, Tags) else value


def is_missing(cell: Any) -> bool:
    """Whether a cell holds nothing: null, or text of space alone."""
    return cell is None or (isinstance(cell, str) and not cell.strip())


def _class_name(cell: Any, table: Table, index: int, column: str) -> str | None:
    if is_missing(cell):
        return None
    if isinstance(cell, float) and not math.isfinite(cell):
        raise DataError(f"expected a class, got {cell}", where=table.where(index, column), fix="leave the cell empty")
    return as_text(cell)


def _check_one_spelling(table: Table, column: str) -> None:
    """Raises where a class is written as 1 in one row and as 1.0 in another."""
    seen: dict[str, int] = {}
    for index, cell in enumerate(table.columns[column]):
        if isinstance(cell, (int, float)) and not isinstance(cell, bool):
            first = seen.setdefault(as_text(cell), index)
            if type(table.columns[column][first]) is not type(cell):
                raise DataError(
                    f"a class that is written in two ways: {table.columns[column][first]!r} in row {first + 1}, "
                    f"{cell!r} here",
                    where=table.where(index, column),
                    fix="write it in one way in the whole column; for a number to predict, set `task: regression`",
                )


def _number(cell: Any, table: Table, index: int, column: str) -> float | None:
    if is_missing(cell):
        return None
    number = as_number(cell)
    if number is None:
        comma = isinstance(cell, str) and as_number(cell.replace(",", ".", 1)) is not None
        fix = "correct the cell, leave it empty, or, if the column holds names, set `task: classification` under data"
        if comma:
            fix = "write decimals with a point"
        elif index == 0 and next(iter(table.columns)) == "0":
            fix = "this file seems to have a header, and `header: false` says that none has: take its first line out"
        raise DataError(f"expected a number, got {short(cell)}", where=table.where(index, column), fix=fix)
    if not abs(number) <= float(np.finfo(np.float32).max):
        raise DataError(
            f"expected a finite number (32 bits), got {short(cell)}",
            where=table.where(index, column),
            fix="correct the cell, or leave it empty: rows without a number are left out and counted",
        )
    return number


def _from_columns(table: Table, columns: Sequence[str]) -> list[Label]:
    """The names of the columns that hold 1; None where one of the cells is empty."""
    marks: list[list[bool | None]] = []
    for column in columns:
        marks.append([_mark(cell, table, index, column) for index, cell in enumerate(table.columns[column])])
    rows = zip(*marks, strict=True)
    return [
        None if None in row else tuple(name for name, mark in zip(columns, row, strict=True) if mark) for row in rows
    ]


def _mark(cell: Any, table: Table, index: int, column: str) -> bool | None:
    if is_missing(cell):
        return None
    mark = _SET.get(as_text(cell).strip().lower())
    if mark is None:
        raise DataError(
            f"expected 0 or 1 in each of several label columns, got {short(cell)}",
            where=table.where(index, column),
            fix="name one label column, or correct the cell",
        )
    return mark


def _from_cells(table: Table, column: str, found: str, separator: str | None) -> list[Label]:
    cells = table.columns[column]
    if found == "list":
        kinds: set[str] = set()
        return [
            None if cell is None else _unique(_items(cell, table, index, column, kinds))
            for index, cell in enumerate(cells)
        ]
    if not separator:
        raise DataError(
            f"a multi-label task needs lists, several columns of 0 and 1, or a separator; the cells hold {found}",
            where=f"{table.source}, column '{column}'",
            fix='set `label_separator` under data, for instance "|", or leave out `task`',
        )
    parts = [None if cell is None else [part.strip() for part in as_text(cell).split(separator)] for cell in cells]
    return [None if names is None else _unique(name for name in names if name) for names in parts]


def _items(cell: list[Any], table: Table, index: int, column: str, kinds: set[str]) -> list[str]:
    """The names in a list cell; an empty one, a list in the list, or another kind than in `kinds` is an error."""
    kinds.update(map(kind, cell))
    if kinds & {"list", "object", "bytes"} or len(kinds) > 1 or any(map(is_missing, cell)):
        raise DataError(
            f"expected a list of labels of one kind, got {short(cell)}"
            + (f"; so far there are {' and '.join(sorted(kinds))}" if len(kinds) > 1 else ""),
            where=table.where(index, column),
            fix="write only names, or only numbers, in the lists",
        )
    return [str(_class_name(item, table, index, column)) for item in cell]


def _unique(names: Iterable[str]) -> tuple[str, ...]:
    return tuple(dict.fromkeys(names))


def count_names(values: Sequence[Label]) -> Counter[str]:
    """How many rows have each class."""
    counts: Counter[str] = Counter()
    for value, rows in Counter(values).items():
        for name in dict.fromkeys(value) if isinstance(value, tuple) else (value,) if isinstance(value, str) else ():
            counts[name] += rows
    return counts


def sort_names(names: Iterable[str]) -> tuple[str, ...]:
    """By number where all are whole numbers, else by letter."""
    names = list(names)
    if all(_WHOLE.fullmatch(name) for name in names):
        return tuple(sorted(names, key=lambda name: (int(name), name)))
    return tuple(sorted(names))


def check_known(values: Sequence[Label], rows: Sequence[int], known: Sequence[str], where: str, source: str) -> None:
    """Raises where a row has a class that is not in `known`: those that the rows of `source` have.

    Args:
        rows: the number of each row, from 1.

    Raises:
        DataError: names those classes, with their counts and first row.
    """
    counts = count_names(values)
    strange = sort_names(set(counts) - set(known))
    if not strange:
        return
    first = next(row for row, value in zip(rows, values, strict=True) if strange[0] in count_names([value]))
    near = nearest(strange[0], list(known))
    meant = f"did you mean '{near}'? " if near else ""
    told = ", ".join(f"'{name}' ({count_rows(counts[name])})" for name in strange[:10])
    more = f" and {len(strange) - 10} more" if len(strange) > 10 else ""
    raise DataError(
        f"{len(strange)} class{'es' * (len(strange) > 1)} that {source} does not have: {told}{more}",
        where=f"{where}, row {first}",
        fix=f"{meant}The known classes are {listed(list(known))}. Correct the label, or take the rows out",
    )


def to_targets(values: Sequence[Label], schema: Schema) -> np.ndarray:
    """Target array: int64 (n,), float32 (n, C) of 0 and 1, float32 (n,) (of language tasks too), or int64 (n, W) of a
    row's tags and then -1. Every value is known to the schema."""
    if schema.task == "regression" or schema.is_language:
        return np.array(values, dtype=np.float32)
    place = {name: index for index, name in enumerate(schema.labels)}
    if schema.task == IMAGE_GENERATION:  # without classes, all are 0
        return np.array([place.get(value, 0) for value in values], dtype=np.int64)
    if schema.task == "classification":
        return np.array([place[value] for value in values], dtype=np.int64)
    if schema.task == "token_classification":
        targets = np.full((len(values), max(map(len, values), default=0)), -1, dtype=np.int64)
        for row, tags in enumerate(values):
            targets[row, : len(tags)] = [place[tag] for tag in tags]
        return targets
    targets = np.zeros((len(values), len(place)), dtype=np.float32)
    for row, names in enumerate(values):
        targets[row, [place[name] for name in names]] = 1
    return targets


def no_targets(count: int, schema: Schema) -> np.ndarray:
    """Targets of rows whose label is not known: -1 for classes, no columns for tags, NaN for the rest."""
    if schema.task in ("classification", "token_classification", IMAGE_GENERATION):
        return np.full((count, 0) if schema.task == "token_classification" else count, -1, dtype=np.int64)
    shape = (count, schema.outputs) if schema.task == "multilabel" else (count,)
    return np.full(shape, np.nan, dtype=np.float32)
