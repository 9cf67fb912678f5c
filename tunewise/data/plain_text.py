"""Plain text files: documents, one after the other."""

from __future__ import annotations

import re
from typing import Literal

from tunewise.data.decode import decode
from tunewise.data.table import MAX_CELL, Table, cell_too_large, make_table
from tunewise.errors import DataError

Documents = Literal["endoftext", "blank_lines", "lines"]

END = "<|endoftext|>"
COLUMN = "text"
_PARTED = {
    "endoftext": re.compile(r"(?m)^[ \t]*<\|endoftext\|>[ \t]*$"),
    "blank_lines": re.compile(r"\n[ \t]*(?:\n[ \t]*)+\n|\n[ \t]*\n"),
}
_TOLD = {
    "endoftext": f"lines of {END} part its documents",
    "blank_lines": "blank lines part its documents",
    "lines": "each line is a document",
}


def read_plain_text(
    data: bytes, source: str, *, documents: Documents | None = None, encoding: str | None = None
) -> Table:
    """The documents of a file, in the column `text`; space around them is left out, and so are empty ones.

    Args:
        documents: what parts them; None for lines of <|endoftext|> where there are any, else blank lines.

    Raises:
        DataError: not text, or a document beyond MAX_CELL.
    """
    text, repairs = decode(data, encoding, source)
    text = text.replace("\r\n", "\n").replace("\r", "\n")
    parted = documents or ("endoftext" if _PARTED["endoftext"].search(text) else "blank_lines")
    found = text.split("\n") if parted == "lines" else _PARTED[parted].split(text)
    texts = [one.strip() for one in found if one.strip()]
    if not texts:
        raise DataError("no document holds any text", where=source, fix="is it the right file?")
    if len(longest := max(texts, key=len)) > MAX_CELL:
        fix = "set data.documents to what parts the documents of this file"
        raise cell_too_large(f"{source}, document {texts.index(longest) + 1}", len(longest), fix)
    empty = len(found) - len(texts)
    note = _TOLD[parted] + (f"; {empty:,} empty ones passed over" if empty else "")
    return make_table(source, [COLUMN], [texts], note, repairs=repairs)
