"""A look at a file: what its columns are, and which are probably the text and the label."""

from __future__ import annotations

import re
from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any, Literal

from tunewise.data.conll import looks_like_conll
from tunewise.data.decode import guess_encoding
from tunewise.data.delimited import DELIMITERS, reads_as_row
from tunewise.data.labels import is_missing
from tunewise.data.layouts import Layout, find_layout
from tunewise.data.load import EXAMPLE, HUB, SUFFIXES, load_table
from tunewise.data.picture import ENDINGS
from tunewise.data.picture_table import hold_bytes
from tunewise.data.schema import MANY, holds_words, reads_as_text
from tunewise.data.sentences import sentence_columns
from tunewise.data.settings import DataConfig
from tunewise.data.table import Table, as_number, as_text, listed
from tunewise.errors import DataError

LABEL_NAMES = ("label", "labels", "class", "category", "target", "intent", "sentiment", "emotion", "topic", "score")
TEXT_NAMES = ("text", "message", "sentence", "content", "body", "review", "comment", "tweet", "sms", "question")
PAIRS = (("premise", "hypothesis"), ("question", "answer"), ("query", "passage"), ("question", "context"))

_LOOK = 65_536  # bytes that are enough to tell encoding and delimiter

ColumnKind = Literal["text", "names", "numbers", "lists", "images", "numbering", "other"]


@dataclass(frozen=True)
class ColumnDescription:
    """What a column holds. `numbering` counts or names the rows: nothing to learn from."""

    name: str
    kind: ColumnKind
    distinct: int
    missing: int
    mean_length: float
    examples: tuple[str, ...]


@dataclass(frozen=True)
class FileDescription:
    """What a file holds, and what was guessed of it.

    `options` are the keys of the data section that the file needs to be read. `text` is empty, and `label` None, where
    no column will do. `layout`: what the rows are to a language model, where there is no column of labels. `image`: the
    column of images, where one holds those and none texts.
    """

    source: str
    rows: int
    columns: tuple[ColumnDescription, ...]
    options: dict[str, Any]
    text: tuple[str, ...]
    label: str | None
    layout: Layout | None = None
    image: str | None = None


def describe_file(source: str | Path, folder: Path | None = None) -> FileDescription:
    """Reads a source of data and guesses what a recipe has to say of it.

    Args:
        source: as `data.train` in a recipe.
        folder: what a relative path starts from; None is the current folder.

    Raises:
        DataError: the source is not there or cannot be read.
    """
    source, folder = str(source), folder or Path()
    options = {} if source.startswith((EXAMPLE, HUB)) else _file_options(source, folder)
    table = _load(source, folder, options)
    columns = tuple(_describe(name, cells) for name, cells in table.columns.items())
    tagged = sentence_columns(table)
    text = (tagged[0],) if tagged else guess_text(columns)
    label = tagged[1] if tagged else guess_label(columns, text)
    image = None if text else next((column.name for column in columns if column.kind == "images"), None)
    layout = None if image else _layout(source, table, options)
    return FileDescription(source, len(table), columns, options, text, label, layout, image)


def _layout(source: str, table: Table, options: dict[str, Any]) -> Layout | None:
    """How a language model would read the table; None where a column is called like a label to predict."""
    found = find_layout(DataConfig(train=source, **options), table)
    labels = {name for name in map(str.casefold, table.columns) if name in LABEL_NAMES}
    return None if found is None or (labels and found.label is None and found.kind != "messages") else found


def _load(source: str, folder: Path, options: dict[str, Any]) -> Table:
    return load_table(DataConfig(train=source, label=0, **options), source, folder, "train")


def _file_options(source: str, folder: Path) -> dict[str, Any]:
    """format, encoding, delimiter and header, each only where it is not what the file name says."""
    start = _first_bytes(folder / source)
    if not start:
        return {}
    options: dict[str, Any] = {}
    known = SUFFIXES.get(Path(source).suffix.lower())
    if known == "text" and not _looks_like_a_table(start):
        return {"encoding": encoding} if (encoding := guess_encoding(start)) else {}
    if known == "parquet" or start.startswith(b"PAR1"):
        return {} if known == "parquet" else {"format": "parquet"}
    encoding = guess_encoding(start)
    text = start.decode(encoding or "utf-8", errors="replace").lstrip("\ufeff")
    line = text.partition("\n")[0]
    guessed = "jsonl" if line.lstrip().startswith("{") else "tsv" if "\t" in line else "csv"
    kind = guessed if known in (None, "text") else known
    if kind in ("csv", "tsv") and looks_like_conll(text):
        kind = "conll"
    if kind != known:
        options["format"] = kind
    if encoding:
        options["encoding"] = encoding
    if kind not in ("jsonl", "conll"):
        options |= _delimiter_option(line, "\t" if kind == "tsv" else ",")
        options |= _header_option(source, folder, options)
    return options


def _looks_like_a_table(start: bytes) -> bool:
    """Whether a file that is called a text holds objects, tagged words, or as many cells in each of its first lines."""
    text = start.decode(guess_encoding(start) or "utf-8", errors="replace").lstrip("\ufeff")
    lines = [line for line in text.split("\n")[:20] if line.strip()]
    counts = [{line.count(mark) for line in lines} for mark in DELIMITERS]
    even = len(lines) > 1 and any(len(found) == 1 and found != {0} for found in counts)
    return even or text.startswith("{") or looks_like_conll(text)


def _first_bytes(path: Path) -> bytes:
    """The start of a file; nothing where it cannot be read, for `load_table` to say why."""
    try:
        if path.is_file():
            with path.open("rb") as file:
                return file.read(_LOOK)
    except OSError:
        pass
    return b""


def _delimiter_option(line: str, usual: str) -> dict[str, str]:
    found = max(DELIMITERS, key=line.count)
    return {"delimiter": found} if usual not in line and found in line else {}


def _header_option(source: str, folder: Path, options: dict[str, Any]) -> dict[str, bool]:
    """`header: false` where the first row holds a number or a sentence, as rows of data do."""
    table = _load(source, folder, {**options, "header": False})
    return {"header": False} if reads_as_row([cells[0] for cells in table.columns.values()]) else {}


def _describe(name: str, cells: Sequence[Any]) -> ColumnDescription:
    some = [cell for cell in cells if not is_missing(cell)]
    if hold_bytes(some):
        return ColumnDescription(name, "images", len(some), len(cells) - len(some), 0.0, ())
    texts = [as_text(cell) for cell in some]
    distinct = list(dict.fromkeys(texts))
    return ColumnDescription(
        name=name,
        kind=_kind(some, len(distinct)),
        distinct=len(distinct),
        missing=len(cells) - len(some),
        mean_length=sum(map(len, texts)) / max(1, len(texts)),
        examples=tuple(distinct[:3]),
    )


def _kind(some: list[Any], distinct: int) -> ColumnKind:
    if some and all(isinstance(cell, list) for cell in some):
        return "lists"
    if some and all(as_number(cell) is not None for cell in some):
        whole = all(as_number(cell).is_integer() for cell in some)
        return "numbering" if whole and distinct == len(some) > MANY else "numbers"
    if some and all(isinstance(cell, str) and cell.lower().endswith(ENDINGS) for cell in some):
        return "images"
    if not holds_words(some):
        return "names" if some and all(isinstance(cell, bool) for cell in some) else "other"
    if reads_as_text(some):
        return "text"
    return "names" if distinct <= max(MANY, len(some) // 2) else "numbering"


def guess_text(columns: Sequence[ColumnDescription]) -> tuple[str, ...]:
    """The text column, or the two of a pair: by name, then two columns without names of similar length, then the
    longest text."""
    found = [column for column in columns if column.kind == "text"]
    if not found:
        return ()
    by_name = {column.name.casefold(): column.name for column in found}
    for first, second in (*PAIRS, *_numbered(list(by_name))):
        if first in by_name and second in by_name:
            return by_name[first], by_name[second]
    lengths = sorted(column.mean_length for column in found)
    if len(found) == 2 and all(column.name.isdigit() for column in found) and lengths[1] < 1.5 * lengths[0]:
        return found[0].name, found[1].name
    for name in TEXT_NAMES:
        if name in by_name:
            return (by_name[name],)
    return (max(found, key=lambda column: column.mean_length).name,)


def _numbered(names: list[str]) -> list[tuple[str, str]]:
    """Pairs such as sentence1 and sentence2, text_a and text_b."""
    return [(name, name[:-1] + {"1": "2", "a": "b"}[name[-1]]) for name in names if re.fullmatch(r"\D+(1|_a| a)", name)]


def guess_label(columns: Sequence[ColumnDescription], text: Sequence[str]) -> str | None:
    """The label column: by name; without a header, the last or first that will do; else the last with names or lists,
    else the last with numbers."""
    found = [column for column in columns if column.name not in text and column.kind in ("names", "numbers", "lists")]
    found = [column for column in found if column.distinct > 1]
    by_name = {column.name.casefold(): column.name for column in found}
    for name in LABEL_NAMES:
        if name in by_name:
            return by_name[name]
    if found and all(column.name.isdigit() for column in columns):
        return next((column.name for column in (columns[-1], columns[0]) if column in found), found[-1].name)
    first_choice = [column for column in found if column.kind != "numbers"] or found
    return first_choice[-1].name if first_choice else None


def need_guesses(described: FileDescription) -> tuple[tuple[str, ...], str]:
    """Text and label columns of a description.

    Raises:
        DataError: none was found; names the columns.
    """
    if described.text and described.label is not None:
        return described.text, described.label
    lacking = "text" if not described.text else "a label"
    raise DataError(
        f"no column looks like {lacking}; the columns are {listed([column.name for column in described.columns])}",
        where=described.source,
        fix="a table needs a column of texts, and one of classes or numbers; write the recipe by hand if it has them",
    )
