"""Bytes of a file -> text, or an error that says what the file is instead."""

from __future__ import annotations

import codecs
from typing import NamedTuple

from tunewise.errors import DataError

_NOT_TEXT = (
    (b"PAR1", "a Parquet file", "set data.format to parquet"),
    (b"PK\x03\x04", "a ZIP archive or an Excel workbook", "unpack it, or save the sheet as CSV (UTF-8)"),
    (b"\x1f\x8b", "a gzip archive", "unpack it"),
    (b"\xd0\xcf\x11\xe0", "an old Excel workbook", "save the sheet as CSV (UTF-8)"),
    (b"SQLite format 3", "an SQLite database", "export the table as CSV"),
)
_UTF32 = (codecs.BOM_UTF32_LE, codecs.BOM_UTF32_BE)
_UTF16 = (codecs.BOM_UTF16_LE, codecs.BOM_UTF16_BE)


class Decoded(NamedTuple):
    """The text of a file, and what was set right to read it."""

    text: str
    repairs: tuple[str, ...]


def decode(data: bytes, encoding: str | None, source: str) -> Decoded:
    """The text of a file, without its byte-order mark; line ends stay as they are.

    Args:
        encoding: the `encoding` of the recipe; None is UTF-8, or what a byte-order mark says.

    Raises:
        DataError: empty, not a text file, of another encoding, or with NUL characters.
    """
    if not data:
        raise DataError("the file is empty (0 bytes)", where=source, fix="is it the right file?")
    for start, what, fix in _NOT_TEXT:
        if data.startswith(start):
            raise DataError(f"expected a text file, got {what}", where=source, fix=fix)
    marked = _marked(data) if encoding is None else None
    text = _named(data, encoding or marked, source, marked) if encoding or marked else _utf8(data, source)
    text = text.removeprefix("\ufeff")
    nul = text.find("\x00")
    if nul >= 0:
        raise DataError(
            "a NUL character, which no text has",
            where=f"{source}, line {text.count(chr(10), 0, nul) + 1}",
            fix="the file is damaged, or not a text file: write it again from its source",
        )
    if not text.strip():
        raise DataError("the file holds nothing but space", where=source, fix="is it the right file?")
    repairs = (f"read as {marked.upper()}, since it begins with that byte-order mark",) if marked else ()
    return Decoded(text, repairs)


def guess_encoding(start: bytes) -> str | None:
    """The encoding of a file, told from its first bytes; None is UTF-8."""
    wide = _wide(start)
    if wide:
        return wide
    try:
        codecs.getincrementaldecoder("utf-8")().decode(start)
    except UnicodeDecodeError:
        return "cp1252"
    return None


def _marked(data: bytes) -> str | None:
    """UTF-16 or UTF-32 by byte-order mark, which no UTF-8 file begins with: FF is in none."""
    if data.startswith(_UTF32):
        return "utf-32"
    return "utf-16" if data.startswith(_UTF16) else None


def _wide(data: bytes) -> str | None:
    """UTF-16 or UTF-32, by byte-order mark or by the NUL that plain English has in every second byte."""
    if marked := _marked(data):
        return marked
    for name, full, empty in (
        ("utf-16-le", data[:2000:2], data[1:2000:2]),
        ("utf-16-be", data[1:2000:2], data[:2000:2]),
    ):
        if len(empty) >= 4 and empty.count(0) > 0.7 * len(empty) and not full.count(0):
            return name
    return None


def _utf8(data: bytes, source: str) -> str:
    wide = _wide(data)
    if wide:
        raise DataError(
            f"expected UTF-8, got {wide.upper()}",
            where=source,
            fix=f"set `encoding: {wide}` under data, or save the file as UTF-8",
        )
    try:
        return data.decode()
    except UnicodeDecodeError as error:
        line = data.count(b"\n", 0, error.start) + 1
        raise DataError(
            f"byte 0x{data[error.start]:02X} is not UTF-8; in Latin-1 (Windows-1252) the place reads "
            f"'{_around(data, error.start)}'",
            where=f"{source}, line {line}",
            fix="if that reads well, set `encoding: cp1252` under data; else save the file as UTF-8",
        ) from None


def _named(data: bytes, encoding: str, source: str, marked: str | None) -> str:
    try:
        return data.decode(encoding)
    except UnicodeDecodeError as error:
        line = _line_at(data, error.start, encoding)
        said = ", as its byte-order mark says" if marked else ""
        fix = "correct `encoding` under data, or save the file as UTF-8 and leave it out"
        raise DataError(
            f"the file is not {encoding}{said}: byte 0x{data[error.start]:02X} does not fit",
            where=f"{source}, line {line}",
            fix="write it again from its source, as UTF-8" if marked else fix,
        ) from None
    except (LookupError, ValueError):
        raise DataError(
            f"there is no text encoding {encoding!r}",
            where="data.encoding",
            fix="for instance utf-8, cp1252 (Western Windows), latin-1, utf-16, shift_jis, gb18030",
        ) from None


def _line_at(data: bytes, place: int, encoding: str) -> int:
    """The line, from 1, of a byte: in UTF-16, half of some letters looks like a line break."""
    try:
        return data[:place].decode(encoding, errors="replace").count("\n") + 1
    except UnicodeError:  # a codec of Python's that does not replace what it cannot read
        return data.count(b"\n", 0, place) + 1


def _around(data: bytes, place: int) -> str:
    """A few letters of the line on both sides, as Windows-1252 has them."""
    begin, end = data.rfind(b"\n", 0, place) + 1, data.find(b"\n", place)
    end = len(data) if end < 0 else end
    piece = data[max(begin, place - 12) : min(end, place + 12)].decode("cp1252", errors="replace")
    return "".join(letter if letter.isprintable() else " " for letter in piece).strip()
