"""CoNLL files: a word and its tag per line, a blank line after each sentence (Tjong Kim Sang and De Meulder 2003)."""

from __future__ import annotations

import re

from tunewise.data.decode import decode
from tunewise.data.table import Table, make_table
from tunewise.errors import DataError

WORDS, TAGS = "tokens", "tags"
DOCUMENT = "-DOCSTART-"

_LOOK = 200  # lines that are enough to tell a CoNLL file
_TAG = re.compile(r"O|[BIESLU]-\S+")


def read_conll(data: bytes, source: str, *, delimiter: str | None = None, encoding: str | None = None) -> Table:
    """The table in a CoNLL file: a row per sentence, a list per cell.

    The first column is called `tokens`, the last `tags`, those between by number. Lines that start a document
    (-DOCSTART-) and, where tabs divide the cells, comments (a # and no tab) are passed over and counted. A file with
    one column has no tags: it can be predicted for.

    Args:
        delimiter: between cells; where left out, a tab if one of the first lines has one, else any space.

    Raises:
        DataError: a line with more or fewer cells than the first, or an empty cell; names the line.
    """
    text, repairs = decode(data, encoding, source)
    lines = text.split("\n")
    delimiter = delimiter or ("\t" if any("\t" in line.strip() for line in lines[:_LOOK]) else None)
    sentences: list[list[list[str]]] = [[]]
    documents = comments = first = 0
    for number, line in enumerate(map(str.strip, lines), start=1):
        cells = [cell.strip() for cell in line.split(delimiter)] if line else []
        if not line or cells[0] == DOCUMENT:
            documents += bool(line)
            if sentences[-1]:
                sentences.append([])
        elif delimiter == "\t" and line.startswith("#") and len(cells) == 1:
            comments += 1
        else:
            first = first or number
            _check(cells, sentences[0][0] if sentences[0] else cells, first, f"{source}, line {number}")
            sentences[-1].append(cells)
    if not sentences[-1]:
        sentences.pop()
    width = len(sentences[0][0]) if sentences else 0
    names = [WORDS, *(str(place) for place in range(1, width - 1)), TAGS][:width]
    columns = [[[cells[place] for cells in sentence] for sentence in sentences] for place in range(width)]
    passed = [f"{count} {what}" for count, what in ((documents, f"{DOCUMENT} lines"), (comments, "comments")) if count]
    note = " and ".join(passed) + " passed over" if passed else ""
    hint = f"a CoNLL file has the columns {WORDS} (the first) and {TAGS} (the last, where it has several)"
    return make_table(source, names, columns, note, hint, repairs)


def _check(cells: list[str], first_cells: list[str], first: int, where: str) -> None:
    if len(cells) != len(first_cells):
        raise DataError(
            f"expected {len(first_cells)} columns, as in line {first}, got {len(cells)}",
            where=where,
            fix="write a word and its tag in every line, with the same columns between, and leave the line after a "
            "sentence blank; where words hold spaces, divide the cells by tabs",
        )
    if not all(cells):
        raise DataError("a cell is empty", where=where, fix="write O as the tag of a word that is in no entity")


def looks_like_conll(start: str) -> bool:
    """Whether text reads as a CoNLL file: several cells in a line, the last of which is a tag."""
    lines = [line.split() for line in start.split("\n")[:_LOOK] if line.strip()]
    tagged = [len(cells) > 1 and _TAG.fullmatch(cells[-1]) is not None for cells in lines]
    return len(lines) > 1 and sum(tagged) > 0.9 * len(lines)
