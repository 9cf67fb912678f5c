"""The group of each row, such as a customer or a document, and what is doubtful about the groups."""

from __future__ import annotations

from collections import Counter

from tunewise.data.clean import Rows
from tunewise.data.keys import has_no_key
from tunewise.data.table import as_text, check_one_kind, fold, listed, row_list
from tunewise.errors import DataError
from tunewise.types import DataStep

Groups = tuple[str | None, ...]
"""The group of each row as text; None where it has none, and is a group of its own."""


def read_groups(rows: Rows, column: str) -> tuple[Groups, list[DataStep]]:
    """The groups of rows, without the space around a name, and a step for what is doubtful about them.

    Raises:
        DataError: the cells are of several kinds, or lists, objects or bytes; or no row has a group.
    """
    source, cells = rows.table.source, rows.table.columns[column]
    found = check_one_kind(rows.table, column)
    if found in ("list", "object", "bytes"):
        raise DataError(
            f"expected the name or number of a group in each cell, got {found}",
            where=f"{source}, column '{column}'",
            fix="name another column as `group` under data, or write one value per row",
        )
    groups = tuple(None if has_no_key(cells[index]) else as_text(cells[index]).strip() for index in rows.indices)
    if not any(group is not None for group in groups):
        raise DataError(
            f"no row has a group: there is nothing in column '{column}'",
            where=f"{source}, data.group",
            fix="is it the right column? Without groups, leave out data.group",
        )
    return groups, _steps(rows, groups, column)


def _steps(rows: Rows, groups: Groups, column: str) -> list[DataStep]:
    told = []
    without = [index for index, group in zip(rows.indices, groups, strict=True) if group is None]
    if without:
        each = "each is a group of its own" if len(without) > 1 else "it is a group of its own"
        told.append(f"{len(without):,} of {len(rows):,} rows have nothing in '{column}': {row_list(without)}; {each}")
    sizes = Counter(group for group in groups if group is not None)
    if len(sizes) > 1 and sizes.total() == len(sizes):
        told.append(f"every row has another '{column}', so that the groups keep no rows together")
    twins = Counter(map(fold, sizes))
    alike = sorted(group for group in sizes if twins[fold(group)] > 1)
    if alike:
        told.append(f"{listed(alike)} differ by case or space alone, and are taken as different groups")
    return [DataStep("groups", len(rows), len(rows), f"{rows.table.source}: {line}") for line in told]
