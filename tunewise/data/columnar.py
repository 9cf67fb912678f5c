"""Parquet files, folders saved by `datasets`, and datasets of the hub: tables that know the types of their columns."""

from __future__ import annotations

import json
import re
from collections.abc import Mapping
from pathlib import Path
from typing import TYPE_CHECKING, Any

from tunewise.data.table import Table, listed, make_table, nearest, printable
from tunewise.errors import DataError

if TYPE_CHECKING:
    import datasets
    import pyarrow

DATASET_FILES = {"dataset_dict.json", "dataset_info.json", "state.json"}
"""Files of a folder that `datasets` wrote."""

_HUB = re.compile(r"hub:(?P<name>\w[\w.-]*/\w[\w.-]*)(/(?P<config>\w[\w.-]*))?(@(?P<split>\w[\w.-]*))?", re.ASCII)


def read_parquet(path: Path, source: str) -> Table:
    """The table in a Parquet file; dictionary columns become their values, extension columns their storage.

    Raises:
        DataError: empty, cut off, or not a Parquet file.
    """
    return _from_arrow(arrow_of(path, source), source)


def arrow_of(path: Path, source: str) -> pyarrow.Table:
    """What a Parquet file holds.

    Raises:
        DataError: empty, cut off, or not a Parquet file.
    """
    import pyarrow as pa
    import pyarrow.parquet as pq

    if path.stat().st_size == 0:
        raise DataError("the file is empty (0 bytes)", where=source, fix="is it the right file?")
    try:
        with pq.ParquetFile(path) as file:
            return file.read()
    # ValueError: a column name that is not UTF-8.
    except (pa.ArrowException, OSError, ValueError) as error:
        raise DataError(
            f"the Parquet file cannot be read ({_first_line(error)})",
            where=source,
            fix="it was probably not written to its end, or is of another format: write it again",
        ) from None


def read_dataset_folder(path: Path, split: str | None, source: str, purpose: str) -> Table:
    """The table in a folder that `datasets` wrote with `save_to_disk`.

    Args:
        split: the part to take where the folder holds several; None takes the one called like `purpose`.

    Raises:
        DataError: not such a folder, damaged, or without that split.
    """
    names = sorted(entry.name for entry in path.iterdir())
    if "dataset_dict.json" not in names and not {"dataset_info.json", "state.json"} <= set(names):
        held = f"it holds {listed(names, 6)}" if names else "it is empty"
        raise DataError(
            f"the folder is not one that `datasets` saved (no dataset_info.json or dataset_dict.json); {held}",
            where=source,
            fix="name a file in it, or the folder that `save_to_disk` wrote",
        )
    _check_inside(path, source)
    import datasets

    try:
        found = datasets.load_from_disk(str(path))
    # The library raises many types (OSError, KeyError, ValueError, pyarrow's own) for a damaged folder.
    except Exception as error:
        raise DataError(
            f"the dataset cannot be read ({_first_line(error)})", where=source, fix="save it again"
        ) from None
    return _from_dataset(found, split, source, purpose)


def _check_inside(path: Path, source: str) -> None:
    """The library joins the names of splits and files, as the folder states them, to its path unseen."""
    try:
        whole = path / "dataset_dict.json"
        splits = json.loads(whole.read_text(encoding="utf-8"))["splits"] if whole.is_file() else ["."]
        files = [path / split / "state.json" for split in splits]
        states = [(file, json.loads(file.read_text(encoding="utf-8"))) for file in files if file.is_file()]
        named = [file.parent / entry["filename"] for file, state in states for entry in state["_data_files"]]
        outside = [file for file in (*files, *named) if not file.resolve().is_relative_to(path.resolve())]
    except (OSError, ValueError, KeyError, TypeError, RecursionError) as error:
        raise DataError(
            f"the dataset cannot be read ({_first_line(error)})", where=source, fix="save it again"
        ) from None
    if outside:
        raise DataError(
            f"the dataset names a file outside its folder: {outside[0]}", where=source, fix="do not use this dataset"
        )


def read_hub(source: str, purpose: str) -> Table:
    """The table of a dataset on the hub, written `hub:owner/name`, `hub:owner/name@split` or
    `hub:owner/name/configuration@split`. Runs no code of the dataset.

    Raises:
        DataError: the id is not one, or the dataset cannot be had.
    """
    parts = _HUB.fullmatch(source)
    if parts is None:
        raise DataError(
            f"'{source}' is not the id of a dataset on the hub",
            where=f"data.{purpose}",
            fix="write hub:owner/name, hub:owner/name@split or hub:owner/name/configuration@split",
        )
    # `datasets` takes a folder of that name in the current one before it asks the hub.
    if Path(parts["name"]).exists():
        raise DataError(
            f"the folder '{parts['name']}' here would be taken instead of the dataset on the hub",
            where=f"data.{purpose}",
            fix="start from another folder, or name the files in it",
        )
    import datasets

    try:
        found = datasets.load_dataset(parts["name"], parts["config"])
    # Network, authorisation, missing dataset, old dataset with a script: each its own type.
    except Exception as error:
        raise DataError(
            f"the dataset cannot be had from the hub ({_first_line(error)})",
            where=source,
            fix="check the id and the connection, or give a local file; `datasets` that need code are not run",
        ) from None
    return _from_dataset(found, parts["split"], source, purpose)


def _from_dataset(
    found: datasets.Dataset | Mapping[str, datasets.Dataset], split: str | None, source: str, purpose: str
) -> Table:
    import datasets

    parts = dict(found) if isinstance(found, Mapping) else {}
    name = choose_split(list(parts), split, source, purpose)
    rows = parts[name] if parts else found
    table = rows.with_format("arrow")[:]
    named = {
        column: feature.names
        for column, kind in rows.features.items()
        if isinstance(feature := _inner(kind), datasets.ClassLabel)
    }
    others = [other for other in parts if other != name]
    note = f"split '{name}'" + (f"; also there, and not used: {listed(others)}" if others else "") if parts else ""
    return _from_arrow(table, source, named, note)


def choose_split(names: list[str], split: str | None, source: str, purpose: str) -> str:
    """The split of these names to take; "" where there are none.

    Args:
        split: the one that the source names; None takes the one called like `purpose`, or the only one.

    Raises:
        DataError: it is not there; names the nearest.
    """
    if not names and split is not None:
        raise DataError(
            f"there is no split '{split}': the dataset has no splits", where=source, fix=f"leave out @{split}"
        )
    name = split or (purpose if purpose in names else names[0] if len(names) == 1 else "")
    if names and name not in names:
        near = nearest(split or purpose, names)
        raise DataError(
            f"there is no split '{split or purpose}'; the splits are {listed(names)}",
            where=source,
            fix=f"add the split to the source: @{near or names[0]}",
        )
    return name


def _inner(feature: Any) -> Any:
    """The feature, or that of a list's items."""
    return _inner(feature.feature) if hasattr(feature, "feature") else feature


def _from_arrow(
    table: pyarrow.Table, source: str, named: Mapping[str, list[str]] | None = None, note: str = ""
) -> Table:
    """Plain Python values; numbers of a column in `named` become those names, -1 (no label) None."""
    names = list(table.column_names)
    columns = plain_columns(table, source)
    for name, classes in (named or {}).items():
        place = names.index(name)
        columns[place] = [
            _class_name(cell, classes, f"{source}, row {row}, column '{name}'")
            for row, cell in enumerate(columns[place], start=1)
        ]
    return make_table(source, names, columns, note)


def plain_columns(table: pyarrow.Table, source: str) -> list[list[Any]]:
    """The values of each column: of a dictionary what it stands for, of an extension type what it is stored as.

    Raises:
        DataError: a column whose values Python cannot hold, such as text that is not UTF-8.
    """
    import pyarrow as pa

    columns = []
    for name, column in zip(table.column_names, table.columns, strict=True):
        try:
            columns.append(_values(column))
        # Text that is not UTF-8, dates beyond the year 9999, types that Python has no value for.
        except (pa.ArrowException, ValueError, OverflowError, NotImplementedError, TypeError) as error:
            raise DataError(
                f"the column '{printable(name)}' of type {column.type} cannot be read ({_first_line(error)})",
                where=source,
                fix="write the column in another type, or leave it out of the file",
            ) from None
    return columns


def _values(column: pyarrow.ChunkedArray) -> list[Any]:
    import pyarrow as pa

    while isinstance(column.type, pa.BaseExtensionType):
        column = column.cast(column.type.storage_type)
    return column.to_pylist()


def _class_name(cell: Any, classes: list[str], where: str) -> Any:
    if isinstance(cell, list):
        return [_class_name(item, classes, where) for item in cell]
    if cell is None or cell == -1:
        return None
    if not 0 <= cell < len(classes):
        raise DataError(
            f"class number {cell} is out of range: the dataset names {len(classes)} classes",
            where=where,
            fix="correct the number, or the names of the column",
        )
    return classes[cell]


def _first_line(error: BaseException) -> str:
    return (str(error).strip().splitlines() or [type(error).__name__])[0].rstrip(".")
