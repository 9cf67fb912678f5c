"""A folder of Parquet files -> one table: all the shards of a split, with the same columns of the same types."""

from __future__ import annotations

import re
from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import TYPE_CHECKING

from tunewise.data.columnar import DATASET_FILES, arrow_of, choose_split, plain_columns
from tunewise.data.table import Table, listed, make_table
from tunewise.errors import DataError

if TYPE_CHECKING:
    import pyarrow

ENDINGS = (".parquet", ".pq")
SPLITS = ("train", "validation", "valid", "val", "dev", "test")
"""Names that a file of a whole split has; other names are parts of one table."""

_SHARD = re.compile(r"(?P<split>.+)-(?P<number>[0-9]{1,9})-of-(?P<count>[0-9]{1,9})")


def holds_shards(folder: Path) -> bool:
    """Whether a folder holds Parquet files, and was not written by `datasets`."""
    names = [entry.name for entry in folder.iterdir()]
    return not DATASET_FILES & set(names) and any(name.lower().endswith(ENDINGS) for name in names)


def read_shards(folder: Path, split: str | None, source: str, purpose: str) -> Table:
    """The table in the Parquet files of a folder, in the order of their names; rows are numbered through all of them.

    Files called `train-00000-of-00002.parquet` or `train.parquet` belong to the split that they name.

    Args:
        split: the one to take; None takes the one called like `purpose`.

    Raises:
        DataError: no such split, a shard is missing or damaged, or its columns are not those of the first.
    """
    parts = _by_split(sorted(path for path in folder.iterdir() if path.name.lower().endswith(ENDINGS)), source)
    name = choose_split([part for part in parts if part], split, source, purpose)
    files = parts[name]
    _check_complete(files, source)
    tables = [(f"{source}/{file.name}", arrow_of(file, f"{source}/{file.name}")) for file in files]
    for place, table in tables[1:]:
        _check_columns(tables[0], place, table)
    names = tables[0][1].column_names
    columns = [
        plain_columns(table.select(list(map(table.column_names.index, names))), place) for place, table in tables
    ]
    joined = [[cell for column in same for cell in column] for same in zip(*columns, strict=True)]
    others = [other for other in parts if other != name]
    notes = [f"{len(files)} shards, rows numbered through"] if len(files) > 1 else []
    notes += [f"split '{name}'"] if name else []
    notes += [f"also there, and not used: {listed(others)}"] if others else []
    return make_table(source, names, joined, "; ".join(notes))


def _by_split(files: Sequence[Path], source: str) -> Mapping[str, list[Path]]:
    """The files of each split; all of them under "" where no name tells one."""
    if not files:
        raise DataError("the folder holds no Parquet file", where=source, fix="name the folder that holds them")
    parts: dict[str, list[Path]] = {}
    for file in files:
        shard = _SHARD.fullmatch(file.stem)
        parts.setdefault(shard["split"] if shard else file.stem if file.stem in SPLITS else "", []).append(file)
    if "" in parts and len(parts) > 1:
        raise DataError(
            f"some files are named after splits, and others are not: {listed([file.name for file in parts['']], 4)}",
            where=source,
            fix="name the file that is meant, or put the files of one table into a folder of their own",
        )
    return parts


def _check_complete(files: Sequence[Path], source: str) -> None:
    shards = [shard for file in files if (shard := _SHARD.fullmatch(file.stem))]
    if not shards:
        return
    counts = sorted({int(shard["count"]) for shard in shards})
    if len(counts) > 1 or len(shards) != len(files):
        raise DataError(
            f"the files belong to several sets of shards, of {' and of '.join(map(str, counts))}",
            where=source,
            fix="put the files of one table into a folder of their own",
        )
    (count,), there = counts, {int(shard["number"]) for shard in shards}
    missing = [number for number in range(min(count, len(shards) + 1)) if number not in there]
    if missing or len(shards) != count:
        raise DataError(
            f"expected {count} shards, as their names say, got {len(shards)}"
            + (f"; the first that is missing is number {missing[0]}" if missing else ""),
            where=source,
            fix="fetch the missing files: without them rows would be missing in silence",
        )


def _check_columns(first: tuple[str, pyarrow.Table], place: str, table: pyarrow.Table) -> None:
    ours, theirs = ({field.name: _kind(field.type) for field in each.schema} for each in (first[1], table))
    for name in dict.fromkeys([*ours, *theirs]):
        kinds = {ours.get(name), theirs.get(name)}
        if len(kinds) > 1 and (None in kinds or "null" not in kinds):  # null: a shard without a value in the column
            raise DataError(
                f"expected the columns of the first shard: '{name}' is {ours.get(name, 'not there')} in it, and "
                f"{theirs.get(name, 'not there')} here",
                where=place,
                fix=f"write all shards with the same columns; the first is {first[0]}",
            )


def _kind(its_type: pyarrow.DataType) -> str:
    """A type, apart from how its values are stored."""
    import pyarrow as pa

    if pa.types.is_dictionary(its_type):
        its_type = its_type.value_type
    if pa.types.is_list(its_type) or pa.types.is_large_list(its_type):
        return f"lists of {_kind(its_type.value_type)}"
    if pa.types.is_integer(its_type):
        return "whole numbers"
    if pa.types.is_floating(its_type):
        return "numbers with fractions"
    return "text" if pa.types.is_string(its_type) or pa.types.is_large_string(its_type) else str(its_type)
