"""The time of each row: dates, dates with a time of day, or numbers, as values that can be compared."""

from __future__ import annotations

import math
import re
from collections import Counter
from collections.abc import Mapping
from datetime import date, datetime
from decimal import Decimal
from typing import Any

from tunewise.data.clean import Rows
from tunewise.data.keys import has_no_key
from tunewise.data.overlap import CHOSEN_ON
from tunewise.data.table import Table, as_number, as_text, row_list, short
from tunewise.errors import DataError
from tunewise.types import DataStep

Time = int | float | Decimal
"""Nanoseconds since the first day of year 1 (of UTC where cells have a time zone), or the number itself."""

DATE, CLOCK, ZONED, NUMBER = "date", "date and time", "date and time with time zone", "number"

_ISO = re.compile(
    r"(?P<year>\d{4})-(?P<month>\d\d)-(?P<day>\d\d)"
    r"([Tt ](?P<hour>\d\d):(?P<minute>\d\d)(:(?P<second>\d\d)([.,](?P<fraction>\d{1,9}))?)?"
    r" ?(?P<zone>[Zz]|[+-]\d\d(:?\d\d)?)?)?",
    re.ASCII,
)
_WHOLE = re.compile(r"[+-]?\d{1,30}", re.ASCII)


def read_times(rows: Rows, column: str) -> tuple[Time, ...]:
    """The times of rows.

    Every cell of the column is read, those of rows that are left out too.

    Raises:
        DataError: a cell that is no time, cells of several forms (dates beside numbers, with and without time zone),
            or rows without a time; names the first row.
    """
    table = rows.table
    cells = enumerate(table.columns[column])
    read = [None if has_no_key(cell) else _read(cell, table, index, column) for index, cell in cells]
    _check_one_form(table, column, [None if time is None else time[0] for time in read])
    without = [index for index in rows.indices if read[index] is None]
    if without:
        raise DataError(
            f"{len(without):,} of {len(rows):,} rows have no time: {row_list(without)}",
            where=table.where(without[0], column),
            fix="fill in the times, or take the rows out: without a time a row is neither earlier nor later",
        )
    return tuple(read[index][1] for index in rows.indices)


def _read(cell: Any, table: Table, index: int, column: str) -> tuple[str, Time]:
    found = time_of(cell)
    if found is None:
        raise DataError(
            f"expected a date (2024-01-31), a date and time (2024-01-31T09:30, with or without a time zone) or a "
            f"number, got {short(cell)}",
            where=table.where(index, column),
            fix="write every cell of the column in one of these forms; dates as year-month-day",
        )
    return found


def time_of(cell: Any) -> tuple[str, Time] | None:
    """The form of a cell, and its time; None where it is no time."""
    if isinstance(cell, datetime):
        return _of_datetime(cell)
    if isinstance(cell, date):
        return DATE, _nanoseconds(cell.toordinal())
    if isinstance(cell, str):
        parts = _ISO.fullmatch(cell.strip())
        return _of_iso(parts) if parts else _of_number(cell.strip())
    return _of_number(cell)


def _of_number(cell: Any) -> tuple[str, Time] | None:
    if isinstance(cell, str) and _WHOLE.fullmatch(cell):
        return NUMBER, int(cell)
    number = as_number(cell)
    if number is None or not math.isfinite(number):
        return None
    return NUMBER, number if isinstance(cell, str) else cell


def _of_datetime(cell: datetime) -> tuple[str, int]:
    offset = cell.utcoffset()
    nanoseconds = cell.microsecond * 1000 + getattr(cell, "nanosecond", 0)  # pandas has those that Parquet may hold
    seconds = cell.hour * 3600 + cell.minute * 60 + cell.second
    if offset is not None:
        seconds -= offset.days * 86_400 + offset.seconds
    return CLOCK if offset is None else ZONED, _nanoseconds(cell.toordinal(), seconds, nanoseconds)


def _of_iso(parts: re.Match[str]) -> tuple[str, int] | None:
    clock = [int(parts[name] or 0) for name in ("hour", "minute", "second")]
    try:
        day = datetime(*(int(parts[name]) for name in ("year", "month", "day")), *clock)
    except ValueError:
        return None
    if parts["hour"] is None:
        return DATE, _nanoseconds(day.toordinal())
    seconds, zone = clock[0] * 3600 + clock[1] * 60 + clock[2], parts["zone"]
    if zone and zone not in "Zz":
        hours, minutes = int(zone[1:3]), int(zone[3:].lstrip(":") or 0)
        if hours > 23 or minutes > 59:
            return None
        seconds -= (hours * 3600 + minutes * 60) * (-1 if zone[0] == "-" else 1)
    return ZONED if zone else CLOCK, _nanoseconds(
        day.toordinal(), seconds, int((parts["fraction"] or "").ljust(9, "0"))
    )


def _nanoseconds(day: int, seconds: int = 0, nanoseconds: int = 0) -> int:
    return ((day - 1) * 86_400 + seconds) * 10**9 + nanoseconds


def _check_one_form(table: Table, column: str, forms: list[str | None]) -> None:
    counts = Counter(form for form in forms if form is not None)
    if len(counts) < 2:
        return
    (usual, many), *_, (odd, few) = counts.most_common()
    index = forms.index(odd)
    raise DataError(
        f"expected a {usual}, as in {many:,} rows of this column, got a {odd} "
        f"({short(table.columns[column][index])}), as in {few:,}",
        where=table.where(index, column),
        fix="write the whole column in one way, so that it is certain which row is later",
    )


def check_same_form(train: Rows, other: Rows, column: str) -> None:
    """Raises where the times of another source cannot be compared with those of train.

    Raises:
        DataError: names both forms.
    """
    ours, theirs = (time_of(rows.table.columns[column][rows.indices[0]]) for rows in (train, other))
    if ours and theirs and ours[0] != theirs[0]:
        raise DataError(
            f"expected a {ours[0]}, as in {train.table.source}, got a {theirs[0]}",
            where=f"{other.table.source}, column '{column}'",
            fix="write the times of all sources in one way",
        )


def shown_time(rows: Rows, time: Time, column: str) -> str:
    """A time that one of the rows has, as its cell has it."""
    return as_text(rows.table.columns[column][rows.indices[rows.times.index(time)]]).strip()


def time_order_steps(parts: Mapping[str, Rows], column: str) -> list[DataStep]:
    """A step for each pair of splits where rows of the later one are not later than all of the earlier one."""
    steps, names = [], list(parts)
    for place, later in enumerate(names):
        for earlier in (name for name in names[:place] if name in CHOSEN_ON):
            rows, last = parts[later], max(parts[earlier].times)
            early = [index for index, time in zip(rows.indices, rows.times, strict=True) if time <= last]
            if early:
                shown = shown_time(parts[earlier], last, column)
                reason = (
                    f"{len(early):,} of {len(rows):,} rows of {later} ({len(early) / len(rows):.1%}) are not later "
                    f"than the last row of {earlier} ({shown}): {rows.table.source}, {row_list(early)}. Kept as "
                    "they are"
                )
                steps.append(DataStep("time order", len(rows), len(rows), reason))
    return steps
