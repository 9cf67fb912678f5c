"""A source, as a recipe names it -> a table."""

from __future__ import annotations

import importlib.resources
from importlib.resources.abc import Traversable
from pathlib import Path

from tunewise.data.columnar import read_dataset_folder, read_hub, read_parquet
from tunewise.data.conll import read_conll
from tunewise.data.delimited import read_delimited
from tunewise.data.jsonl import read_jsonl
from tunewise.data.plain_text import read_plain_text
from tunewise.data.settings import DataConfig
from tunewise.data.shards import holds_shards, read_shards
from tunewise.data.table import Table, listed, nearest
from tunewise.errors import DataError

SUFFIXES = {
    ".csv": "csv",
    ".tsv": "tsv",
    ".tab": "tsv",
    ".jsonl": "jsonl",
    ".ndjson": "jsonl",
    ".json": "jsonl",
    ".parquet": "parquet",
    ".pq": "parquet",
    ".conll": "conll",
    ".bio": "conll",
    ".iob": "conll",
    ".iob2": "conll",
    ".txt": "text",
}
EXAMPLE, HUB = "example:", "hub:"


def load_table(config: DataConfig, source: str, folder: Path, purpose: str) -> Table:
    """The rows of one source.

    Args:
        source: a file; a folder of Parquet files, or one saved by `datasets` (`folder@split` where it holds several);
            `hub:owner/name@split`; or `example:name`.
        folder: what relative paths start from: the recipe's folder.
        purpose: train, validation or test: the split taken of a dataset that has several, and the key that an error
            names.

    Raises:
        DataError: the source is not there or cannot be read.
    """
    if source.startswith(HUB):
        return read_hub(source, purpose)
    if source.startswith(EXAMPLE):
        return read_delimited(_example(source).read_bytes(), source)
    path, split = find_path(source, folder, purpose)
    kind = config.format or file_format(path, source)
    try:
        if kind == "parquet" and path.is_dir():
            return read_shards(path, split, source, purpose)
        if path.is_dir() != (kind == "datasets"):
            there = "a folder" if path.is_dir() else "a file"
            raise DataError(f"expected data of format {kind}, got {there}", where=source, fix="correct data.format")
        if kind == "datasets":
            return read_dataset_folder(path, split, source, purpose)
        if not path.is_file():
            raise DataError("expected a file, got a device or pipe", where=source, fix="save the data to a file")
        if kind == "parquet":
            return read_parquet(path, source)
        data = path.read_bytes()
    except OSError as error:
        raise DataError(f"cannot be read: {error.strerror or error}", where=source, fix="check its rights") from None
    if kind == "jsonl":
        return read_jsonl(data, source, encoding=config.encoding)
    if kind == "conll":
        return read_conll(data, source, delimiter=config.delimiter, encoding=config.encoding)
    if kind == "text":
        return read_plain_text(data, source, documents=config.documents, encoding=config.encoding)
    return read_delimited(
        data,
        source,
        delimiter=config.delimiter or ("\t" if kind == "tsv" else ","),
        quotes=kind == "csv" if config.quotes is None else config.quotes,
        header=config.header,
        encoding=config.encoding,
    )


def file_format(path: Path, source: str) -> str:
    """What a file is, told from its name: csv, tsv, jsonl, parquet, conll, text; a folder is parquet or datasets.

    Raises:
        DataError: the name does not tell.
    """
    if path.is_dir():
        return "parquet" if holds_shards(path) else "datasets"
    if path.suffix.lower() in SUFFIXES:
        return SUFFIXES[path.suffix.lower()]
    raise DataError(
        f"the file name does not tell what the file is; known endings are {', '.join(SUFFIXES)}",
        where=source,
        fix="set `format` under data: csv, tsv, jsonl, parquet, conll or text; save an Excel sheet as CSV first",
    )


def find_path(source: str, folder: Path, purpose: str) -> tuple[Path, str | None]:
    """The file or folder, and what stands after @ where the name as a whole is not there."""
    if "://" in source:
        raise DataError(f"'{source}' is a web address", where=f"data.{purpose}", fix="download it, and name the file")
    name, _, split = source.rpartition("@")
    try:
        path = folder / _home(source)
        if path.exists():
            return path, None
        if split and name and (folder / _home(name)).is_dir():
            return folder / _home(name), split
        raise _not_there(source, path, purpose)
    except (OSError, RuntimeError, ValueError) as error:
        raise DataError(f"'{source}' is not a path ({error})", where=f"data.{purpose}", fix="correct it") from None


def _home(source: str) -> Path:
    return Path(source).expanduser() if source.startswith("~/") else Path(source)


def _not_there(source: str, path: Path, purpose: str) -> DataError:
    parent = path.parent
    if not parent.is_dir():
        fix = f"the folder {parent} is not there either; relative paths start from the recipe's folder"
    else:
        near = nearest(path.name, sorted(entry.name for entry in parent.iterdir()))
        fix = f"did you mean '{near}'?" if near else f"nothing of a similar name is in {parent.resolve()}"
    return DataError(f"there is no file '{source}'", where=f"data.{purpose}", fix=fix)


def _example(source: str) -> Traversable:
    files = importlib.resources.files("tunewise.data") / "examples"
    examples = {
        entry.name.removesuffix(".csv").replace("_", "-"): entry
        for entry in files.iterdir()
        if entry.name.endswith(".csv")
    }
    name = source.removeprefix(EXAMPLE)
    if name not in examples:
        raise DataError(
            f"there is no example '{name}'", where=source, fix=f"the examples are {listed(sorted(examples))}"
        )
    return examples[name]
