"""A table as it was read: named columns of cells, and where each cell stands in the user's file."""

from __future__ import annotations

import difflib
import json
import math
import re
from collections import Counter
from collections.abc import Collection, Mapping, Sequence
from dataclasses import dataclass
from decimal import Decimal
from typing import Any

from tunewise.errors import DataError

MAX_CELL = 1_000_000
"""Characters that a cell may hold. A novel has about 500,000; more is a forgotten quote or a wrong file."""

_STRINGS_AT_ONCE = 10_000

_NUMBER = re.compile(r"[+-]?(\d+\.?\d*|\.\d+)([eE][+-]?\d+)?|[+-]?(nan|inf|infinity)", re.ASCII | re.IGNORECASE)


@dataclass(frozen=True)
class Table:
    """Columns of equal length, in the order of the file.

    `source` is the file as the recipe names it. `note` says how it was read. `hint` is what to do where a column is
    not there. `repairs` are what was wrong with the file and set right in reading. Cells are strings (CSV, TSV) or what
    the file says they are (JSONL, Parquet, datasets); None is a cell without content.
    """

    source: str
    columns: Mapping[str, Sequence[Any]]
    note: str = ""
    hint: str = ""
    repairs: tuple[str, ...] = ()
    of = "text"  # what a row is, in messages

    def __len__(self) -> int:
        return len(next(iter(self.columns.values())))

    def where(self, index: int, column: str) -> str:
        """The place of a cell, in words; the first data row is row 1."""
        return f"{self.source}, row {index + 1}, column '{column}'"

    def told_empty(self, columns: Sequence[str], empty: Collection[int]) -> tuple[str, str]:
        """The name of the step that leaves rows without content out, and why.

        Args:
            columns: of the content.
            empty: places of these rows.
        """
        return "empty text", nothing_in(columns, empty)

    def find(self, wanted: str | int) -> str:
        """The name of a column given by name, or by number from 0.

        Raises:
            DataError: it is not there; names the nearest.
        """
        if str(wanted) in self.columns:
            return str(wanted)
        names = list(self.columns)
        if isinstance(wanted, int) and 0 <= wanted < len(names):
            return names[wanted]
        near = nearest(str(wanted), names)
        raise DataError(
            f"there is no column '{wanted}'; the columns are {listed(names)}",
            where=self.source,
            fix=self.hint or (f"did you mean '{near}'?" if near else "name one of the columns that are there"),
        )


def make_table(
    source: str,
    names: Sequence[str],
    columns: Sequence[Sequence[Any]],
    note: str,
    hint: str = "",
    repairs: tuple[str, ...] = (),
) -> Table:
    """A table whose names are unique and whose cells can be written as UTF-8.

    Raises:
        DataError: no rows, a name that stands twice, a lone surrogate, or a cell beyond MAX_CELL.
    """
    twice = [name for name, count in Counter(names).items() if count > 1]
    if twice:
        places = ", ".join([str(place + 1) for place, name in enumerate(names) if name == twice[0]][:10])
        raise DataError(
            f"the column name '{twice[0]}' stands {names.count(twice[0])} times (columns {places})",
            where=source,
            fix="give every column its own name",
        )
    if not names or not len(columns[0]):
        raise DataError("there are no rows, only column names", where=source, fix="is it the right file?")
    table = Table(source, dict(zip(names, columns, strict=True)), note, hint, repairs)
    for name, cells in table.columns.items():
        _check_strings(table, name, [cell for cell in (name, *cells) if isinstance(cell, str)])
    return table


def _check_strings(table: Table, name: str, strings: list[str]) -> None:
    """Looks at whole columns first, and for the row only where there is something to find."""
    try:
        for start in range(0, len(strings), _STRINGS_AT_ONCE):
            "".join(strings[start : start + _STRINGS_AT_ONCE]).encode()
    except UnicodeEncodeError:
        for index, cell in enumerate((name, *table.columns[name])):
            if isinstance(cell, str) and any("\ud800" <= letter <= "\udfff" for letter in cell):
                raise DataError(
                    "half of a surrogate pair, which is no character: the text was cut in the middle of an emoji "
                    "or similar",
                    where=table.where(index - 1, printable(name)) if index else f"{table.source}, a column name",
                    fix="write the file again from its source, as UTF-8",
                ) from None
    if max(map(len, strings)) > MAX_CELL:
        index = next(i for i, cell in enumerate(table.columns[name]) if isinstance(cell, str) and len(cell) > MAX_CELL)
        raise cell_too_large(table.where(index, name), len(table.columns[name][index]))


def cell_too_large(where: str, length: int | None = None, fix: str = "cut the text into rows") -> DataError:
    """The error for a cell beyond MAX_CELL."""
    size = f"{length:,} characters" if length else f"more than {MAX_CELL:,} characters"
    return DataError(f"a cell of {size}; at most {MAX_CELL:,} are read", where=where, fix=fix)


def as_number(cell: Any) -> float | None:
    """The cell as a number (NaN and infinity included), None where it is none. Truth values are not numbers."""
    if isinstance(cell, str):
        text = cell.strip()  # more than float() takes off: it leaves U+001F
        return float(text) if _NUMBER.fullmatch(text) else None
    if isinstance(cell, bool) or not isinstance(cell, (int, float, Decimal)):
        return None
    try:
        return float(cell)
    except OverflowError:
        return math.inf


def as_text(cell: Any) -> str:
    """The cell as a string: whole numbers without a fraction (1.0 is "1"), truth values and lists as in JSON."""
    if cell is None:
        return ""
    if isinstance(cell, str):
        return cell
    if isinstance(cell, bool):
        return "true" if cell else "false"
    if isinstance(cell, float):
        return str(int(cell)) if cell.is_integer() else repr(cell)
    if isinstance(cell, (list, dict)):
        return json.dumps(cell, ensure_ascii=False, default=str)
    if isinstance(cell, bytes):
        return f"<{len(cell)} bytes>"
    return str(cell)


def kind(cell: Any) -> str:
    """What a cell is, in the words of error messages."""
    if isinstance(cell, bool):
        return "true/false"
    if isinstance(cell, (int, float, Decimal)):
        return "number"
    return {str: "text", list: "list", dict: "object", bytes: "bytes", type(None): "nothing"}.get(
        type(cell), type(cell).__name__
    )


def check_one_kind(table: Table, column: str) -> str:
    """The kind of all cells of a column that hold something; `nothing` where none does.

    Raises:
        DataError: there are several kinds; names the first row of the rarest.
    """
    cells, counts = table.columns[column], Counter()
    some = {type(cell): cell for cell in cells}  # the type of a cell decides its kind
    for its_type, many in Counter(map(type, cells)).items():
        counts[kind(some[its_type])] += many
    counts.pop("nothing", None)
    if len(counts) < 2:
        return next(iter(counts), "nothing")
    (usual, many), *_, (odd, few) = counts.most_common()
    index = next(index for index, cell in enumerate(cells) if kind(cell) == odd)
    raise DataError(
        f"expected {usual}, as in {many:,} rows of this column, got {odd} ({short(table.columns[column][index])}), "
        f"as in {few:,}",
        where=table.where(index, column),
        fix='write the whole column in one way; in JSON, "1" is text and 1 a number',
    )


def short(cell: Any, most: int = 40) -> str:
    """A cell for a message, cut to so many characters; control characters are escaped."""
    text = repr(cell) if isinstance(cell, str) else printable(as_text(cell))
    return text if len(text) <= most else f"{text[: most - 3]}..."


def printable(name: str) -> str:
    """A string that any terminal can print."""
    return name if name.isprintable() else ascii(name)[1:-1]


def listed(names: Sequence[str], most: int = 12) -> str:
    """Names in quotes, the first few."""
    rest = f" and {len(names) - most} more" if len(names) > most else ""
    return ", ".join(f"'{printable(name)}'" for name in names[:most]) + rest


def row_list(indices: Sequence[int], most: int = 5) -> str:
    """`row 3`, or `rows 3, 9, 12 and 40 more`; indices from 0, rows from 1."""
    first = ", ".join(str(index + 1) for index in indices[:most])
    rest = f" and {len(indices) - most:,} more" if len(indices) > most else ""
    return f"row{'s' if len(indices) > 1 else ''} {first}{rest}"


def nothing_in(columns: Sequence[str], rows: Collection[int]) -> str:
    """`nothing in 'a' or 'b' in rows 3 and 9`."""
    where = " or ".join(f"'{column}'" for column in columns)
    return f"nothing in {where} in {row_list(sorted(rows))}"


def count_rows(count: int) -> str:
    """`1 row`, or `12,345 rows`."""
    return f"{count:,} row{'s' * (count != 1)}"


def nearest(wanted: str, names: Sequence[str]) -> str | None:
    """The name that was probably meant: the same but for case and spaces, else a similar one."""
    same = [name for name in names if fold(name) == fold(wanted)]
    return next(iter(same or difflib.get_close_matches(wanted, names, n=1, cutoff=0.6)), None)


def fold(name: str) -> str:
    """The name without what readers do not see: case and space."""
    return " ".join(name.casefold().split())
