"""Writes the splits of a recipe as training would get them, each to a file, so that they read back the same."""

from __future__ import annotations

import csv
import io
import json
import os
import re
from collections.abc import Callable, Iterator, Mapping, Sequence
from pathlib import Path
from typing import Any

from tunewise import __version__
from tunewise.cleaning.texts import text_steps
from tunewise.commit import commit_folder
from tunewise.data.prepare import prepare
from tunewise.data.sentences import words_of
from tunewise.data.settings import DataConfig
from tunewise.errors import DataError, StoreError
from tunewise.types import DataBundle, Schema, Split

STEPS = "cleaning.json"
SOURCE, ROW = "tunewise_source", "tunewise_row"
"""Columns with the file that a row comes from and its number there; where data has them already, they stay."""

SEPARATORS = "|;\t\x1f"
"""What may divide several labels in a CSV cell: the first that is in no label."""

Columns = Mapping[str, Sequence[Any]]


def check_new(target: Path) -> None:
    """Raises where something is there already.

    Raises:
        StoreError: nothing is written over.
    """
    if os.path.lexists(target):
        raise StoreError(
            f"{target.name} is already there, and saving does not write over it",
            where=str(target),
            fix="choose another folder, or move this one away",
        )


def write_splits(config: DataConfig, folder: Path, data: DataBundle, target: Path, kind: str) -> dict[str, Any]:
    """Commits the folder `target`: a file for each split, before `data.balance`, with all columns (those that are
    neither text nor label as strings), source and row number; and `cleaning.json` with what was done and how to read
    the files. Before they are there for good, they are read back, and compared by fingerprint.

    Args:
        data: what `config` reads, from `folder`.
        kind: parquet, jsonl or csv.

    Returns:
        The data section of a recipe in `target` that reads the same data.

    Raises:
        StoreError: it was not saved for good, or something is there already.
        DataError: a file of this kind cannot hold the data so that it reads back the same.
    """
    if data.schema.is_language:
        raise DataError(
            f"splits are written of rows with labels; the task is {data.schema.task}",
            where="where the splits are to be written",
            fix="leave it out: training cuts the same splits from the same files by data.split_seed",
        )
    if config.folds is not None:
        raise DataError(
            f"training gets other splits in each of the {config.folds} folds",
            where="data.folds",
            fix="write the data without folds: --set data.folds=null",
        )
    plain = prepare(config.model_copy(update={"balance": None}), folder) if config.balance else data
    section = _section(config, plain, kind)
    files = dict(zip(plain.splits, _file_names(plain, kind), strict=True))
    steps = [{**step.as_dict(), "rows": list(step.rows)} for step in plain.steps]
    about = {
        "tunewise": __version__,
        "fingerprint": data.fingerprint,
        "rows": {name: len(split) for name, split in plain.splits.items()},
        "data": section,
        "steps": steps,
    }

    def write(staging: Path) -> None:
        for name, split in plain.splits.items():
            columns = _columns(split, plain.schema, section)
            (staging / files[name]).write_bytes(_WRITERS[kind](columns))
        _check_same(section, staging, data.fingerprint, kind)
        (staging / STEPS).write_bytes(json.dumps(about, indent=1, ensure_ascii=False).encode())

    check_new(target)
    commit_folder(target, write, {"kind": "cleaned data"})
    return section


def _check_same(section: Mapping[str, Any], staging: Path, fingerprint: str, kind: str) -> None:
    try:
        same = prepare(DataConfig(**section), staging).fingerprint == fingerprint
        why = "" if same else "texts or labels would differ"
    except DataError as error:
        why = f"{error.what} ({error.where})"
    if why:
        raise DataError(
            f"written as {kind}, the data would not read back the same: {why}",
            where="--as",
            fix="take jsonl or parquet" if kind == "csv" else "take another kind of file",
        )


# ---------------------------------------------------------------- how it is read back


def _section(config: DataConfig, data: DataBundle, kind: str) -> dict[str, Any]:
    """The data section that reads the files; with what is done to texts, so that a model does it too."""
    schema, names = data.schema, _file_names(data, kind)
    files = dict(zip(data.splits, names, strict=True))
    tests = {name: file for name, file in files.items() if name not in ("train", "validation")}
    label = _label_columns(config, schema)
    section = {
        "train": files["train"],
        "validation": files["validation"],
        "test": tests["test"] if list(tests) == ["test"] else tests,
        "text": schema.text[0] if len(schema.text) == 1 else list(schema.text),
        "label": label[0] if len(label) == 1 else label,
        "task": schema.task,
    }
    if schema.labels:
        section["labels"] = list(schema.labels)
    if schema.task == "multilabel" and len(label) == 1 and kind == "csv":
        section["label_separator"] = _separator(schema.labels)
    if steps := text_steps(config.clean):
        section["clean"] = dict.fromkeys(steps, True)
    if config.balance:
        section |= {"balance": config.balance, "split_seed": config.split_seed}
    return section


def _label_columns(config: DataConfig, schema: Schema) -> list[str]:
    """Several columns in the order in which the recipe names them, which `data.labels` may change in the schema."""
    if not isinstance(config.label, list) or len(config.label) == 1:
        return [schema.label]
    return sorted(schema.labels, key=lambda name: f", {schema.label}, ".find(f", {name}, "))


def _separator(labels: Sequence[str]) -> str:
    found = next((mark for mark in SEPARATORS if not any(mark in label for label in labels)), None)
    if found is None:
        raise DataError(
            "class names hold every character that could divide them in a CSV cell",
            where="--as csv",
            fix="take jsonl or parquet",
        )
    return found


def _file_names(data: DataBundle, kind: str) -> list[str]:
    """Called like the split where that is a plain name, which no other has but for case; else by number."""
    names: list[str] = []
    for number, name in enumerate(data.splits):
        plain = re.fullmatch(r"(?!test-set-)[A-Za-z0-9][A-Za-z0-9_-]{0,50}", name) is not None
        taken = {other.lower() for other in names}
        names.append(name if plain and name.lower() not in taken else f"test-set-{number - 1}")
    return [f"{name}.{kind}" for name in names]


# ---------------------------------------------------------------- what is in it


def _columns(split: Split, schema: Schema, section: Mapping[str, Any]) -> dict[str, Sequence[Any]]:
    """Texts, labels, then the other columns, then where each row comes from."""
    tagged = schema.task == "token_classification"
    columns: dict[str, Sequence[Any]] = {
        name: [words_of(row[side]) if tagged else row[side] for row in split.texts]
        for side, name in enumerate(schema.text)
    }
    columns |= _label_cells(split, schema, section)
    columns |= {name: list(cells) for name, cells in split.columns.items()}
    columns.setdefault(SOURCE, [split.source] * len(split))
    columns.setdefault(ROW, split.rows.tolist())
    return columns


def _label_cells(split: Split, schema: Schema, section: Mapping[str, Any]) -> dict[str, Sequence[Any]]:
    label, targets = section["label"], split.targets
    if schema.task == "regression":
        return {label: [float(str(value)) for value in targets]}  # the shortest number that is this one in 32 bits
    if schema.task == "classification":
        return {label: [schema.labels[target] for target in targets]}
    if schema.task == "token_classification":
        return {label: [[schema.labels[tag] for tag in row if tag >= 0] for row in targets]}
    if isinstance(label, list):
        return {name: [int(value) for value in targets[:, schema.labels.index(name)]] for name in label}
    sets = [[name for name, mark in zip(schema.labels, row, strict=True) if mark] for row in targets]
    separator = section.get("label_separator")
    return {label: sets if separator is None else [separator.join(names) for names in sets]}


def _as_parquet(columns: Columns) -> bytes:
    import pyarrow as pa
    from pyarrow import parquet

    file = pa.BufferOutputStream()
    parquet.write_table(pa.table({name: _array(cells) for name, cells in columns.items()}), file)
    return file.getvalue().to_pybytes()


def _array(cells: Sequence[Any]) -> Any:
    """Lists are lists of strings even where all of them are empty."""
    import pyarrow as pa

    return pa.array(cells, pa.list_(pa.string()) if cells and isinstance(cells[0], list) else None)


def _as_jsonl(columns: Columns) -> bytes:
    return "".join(
        json.dumps(dict(zip(columns, row, strict=True)), ensure_ascii=False) + "\n" for row in _rows(columns)
    ).encode()


def _as_csv(columns: Columns) -> bytes:
    if held := next((name for name, cells in columns.items() if cells and isinstance(cells[0], list)), None):
        raise DataError(f"column '{held}' holds lists", where="--as csv", fix="take jsonl or parquet")
    buffer = io.StringIO()
    writer = csv.writer(buffer, quoting=csv.QUOTE_ALL, lineterminator="\n")
    writer.writerow(columns)
    writer.writerows(_rows(columns))
    return buffer.getvalue().encode()


def _rows(columns: Columns) -> Iterator[tuple[Any, ...]]:
    return zip(*columns.values(), strict=True)


_WRITERS: dict[str, Callable[[Columns], bytes]] = {"parquet": _as_parquet, "jsonl": _as_jsonl, "csv": _as_csv}
