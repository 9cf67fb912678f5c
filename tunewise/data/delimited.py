"""CSV and TSV, read strictly: a row that does not fit is an error with its number, never a guess."""

from __future__ import annotations

import csv
import re
from collections.abc import Iterator, Sequence
from contextlib import contextmanager
from itertools import chain

from tunewise.data.decode import decode
from tunewise.data.table import MAX_CELL, Table, as_number, cell_too_large, make_table
from tunewise.errors import DataError

DELIMITERS = {",": "comma", ";": "semicolon", "\t": "tab", "|": "bar"}

MOST_SHARED = 10_000

_LINE = re.compile(r"[^\r\n]*(?:\r\n?|\n)|[^\r\n]+")


def read_delimited(
    data: bytes,
    source: str,
    *,
    delimiter: str = ",",
    quotes: bool = True,
    header: bool = True,
    encoding: str | None = None,
) -> Table:
    """The table in a CSV or TSV file; every cell is a string. Blank lines are no rows; they are counted in the note.

    Raises:
        DataError: names the row (the first after the header is 1) and the line of the file.
    """
    if delimiter in '"\r\n\x00':
        raise DataError(
            f"the delimiter cannot be {delimiter!r}", where="data.delimiter", fix="use one of , ; | or a tab"
        )
    text, repairs = decode(data, encoding, source)
    reader = _Rows(text, source, delimiter, quotes, header)
    names, columns = reader.read()
    note = f"{reader.blank} blank line{'s' * (reader.blank > 1)} passed over" if reader.blank else ""
    hint = _header_hint(names, delimiter) if header else "without a header, columns are called by number, from 0"
    return make_table(source, names, columns, note, hint, repairs)


def _shared(cell: str, known: dict[str, str]) -> str:
    """Equal cells of a column as one string, where they are few: labels of a million rows would take 57 MB."""
    return known.setdefault(cell, cell) if len(known) < MOST_SHARED else known.get(cell, cell)


class _Rows:
    """One pass over the file; keeps count, so that errors can name row and line."""

    def __init__(self, text: str, source: str, delimiter: str, quotes: bool, header: bool):
        self.source, self.delimiter, self.header = source, delimiter, header
        quoting = csv.QUOTE_MINIMAL if quotes else csv.QUOTE_NONE
        lines = (line.group() for line in _LINE.finditer(text))  # a StringIO takes 4 bytes for each letter of the file
        self.reader = csv.reader(lines, delimiter=delimiter, quoting=quoting, strict=True)
        self.row = 0 if header else 1
        self.line = 1
        self.blank = 0

    def read(self) -> tuple[list[str], list[tuple[str, ...]]]:
        """The names of the columns, and their cells."""
        with _cell_limit():
            records = self._records()
            first = next(records)
            names = [name.strip() for name in first] if self.header else [str(number) for number in range(len(first))]
            columns, known = [[] for _ in first], [{} for _ in first]
            for record in records if self.header else chain([first], records):
                if len(record) != len(first):
                    raise self._ragged(names, record)
                for place, cell in enumerate(record):
                    columns[place].append(_shared(cell, known[place]))
        return names, list(map(tuple, columns))

    def _records(self) -> Iterator[list[str]]:
        """Records that hold something; while one is out, `row` and `line` are its own."""
        while True:
            self.line = self.reader.line_num + 1
            try:
                record = next(self.reader, None)
            except csv.Error as error:
                raise self._broken(str(error)) from None
            if record is None:
                return
            if not record:
                self.blank += 1
                continue
            yield record
            self.row += 1

    @property
    def _where(self) -> str:
        return f"{self.source}, {f'row {self.row}' if self.row else 'header'} (line {self.line})"

    def _ragged(self, names: list[str], record: list[str]) -> DataError:
        fix = _other_delimiter(names, self.delimiter) if self.header else ""
        if not fix:
            called = DELIMITERS.get(self.delimiter, repr(self.delimiter))
            fix = f"put cells that hold a {called} in double quotes, or correct the row"
        return DataError(f"expected {_cells(len(names))}, got {_cells(len(record))}", where=self._where, fix=fix)

    def _broken(self, error: str) -> DataError:
        """The csv module's error in plain words."""
        last = self.reader.line_num
        if "unexpected end" in error:
            return DataError(
                f"a double quote opens a cell here and is not closed before the end of the file (line {last})",
                where=self._where,
                fix="close the cell, or set `quotes: false` under data where quotes are ordinary characters",
            )
        if "field limit" in error:
            return cell_too_large(
                self._where, fix="is a double quote left open here? else cut the text into several rows"
            )
        return DataError(
            f"a quoted cell goes on after its closing quote ({error})",
            where=f"{self._where[:-1]} to {last})" if last > self.line else self._where,
            fix='write a quote inside a quoted cell twice (""), or set `quotes: false` under data',
        )


@contextmanager
def _cell_limit() -> Iterator[None]:
    """The csv module's own limit, 131,072 characters, is process-wide and too low for long documents."""
    before = csv.field_size_limit(MAX_CELL)
    try:
        yield
    finally:
        csv.field_size_limit(before)


def _cells(count: int) -> str:
    return f"{count} cell{'s' * (count != 1)}"


def reads_as_row(cells: Sequence[str]) -> bool:
    """Whether what should be column names is a row of data: it holds a number or a sentence."""
    return any(as_number(cell) is not None or _is_prose(cell) for cell in cells)


def _is_prose(cell: str) -> bool:
    return len(cell) > 60 or len(cell.split()) > 6


def _header_hint(names: list[str], delimiter: str) -> str:
    hint = _other_delimiter(names, delimiter)
    if not hint and any(map(_is_prose, names)):
        hint = (
            "the first line reads as a row of data: where there are no column names, set `header: false` under data, "
            "and call columns by number, from 0"
        )
    return hint


def _other_delimiter(names: list[str], delimiter: str) -> str:
    """What to do where the header is one cell that holds another delimiter."""
    if len(names) != 1:
        return ""
    found = max((mark for mark in DELIMITERS if mark != delimiter), key=names[0].count)
    if found not in names[0]:
        return ""
    shown = "\\t" if found == "\t" else found
    return f'the cells seem to be divided by a {DELIMITERS[found]}: set `delimiter: "{shown}"` under data'
