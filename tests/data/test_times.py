"""Cells as times: equal moments are equal however they are written, and what is no time is told."""

from __future__ import annotations

import datetime as dt
from decimal import Decimal
from itertools import pairwise

import numpy as np
import pandas as pd
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from tunewise.data.clean import Rows
from tunewise.data.split_times import cut_by_time, latest_of_groups
from tunewise.data.table import Table
from tunewise.data.times import check_same_form, read_times, time_of
from tunewise.errors import DataError


def rows(*cells, source: str = "f.csv") -> Rows:
    count = len(cells)
    return Rows(Table(source, {"day": list(cells)}), tuple(range(count)), (("x",),) * count, ("a",) * count)


ONE_MOMENT = [
    "2024-01-31T10:30:00.5+01:00",
    "2024-01-31 09:30:00,500Z",
    "2024-01-31t04:30:00.500000000-0500",
    " 2024-01-31 10:30:00.5 +01 ",
    dt.datetime(2024, 1, 31, 9, 30, 0, 500_000, tzinfo=dt.UTC),
    pd.Timestamp("2024-01-31T15:00:00.5", tz="Asia/Kolkata"),
]


@pytest.mark.parametrize("cell", ONE_MOMENT)
def test_one_moment_written_in_many_ways(cell):
    form, time = time_of(cell)
    assert form == "date and time with time zone"
    since = dt.datetime(2024, 1, 31, 9, 30) - dt.datetime(1, 1, 1)
    assert time == (since.days * 86_400 + since.seconds) * 10**9 + 500_000_000


@settings(max_examples=200, deadline=None)
@given(moments=st.lists(st.datetimes(timezones=st.timezones() | st.none()), min_size=2, max_size=2))
def test_times_are_ordered_as_python_orders_them(moments):
    one, other = moments
    if (one.tzinfo is None) != (other.tzinfo is None):
        return  # of two forms, which are never compared
    offsets = [moment.utcoffset() for moment in moments if moment.tzinfo]
    if any(offset.seconds % 60 for offset in offsets):
        return  # ISO text has no seconds in an offset, as the local times of before 1900 have
    # In UTC: Python compares the local times of one zone as they stand, and takes the hour that comes twice for one.
    # The first and last years are left out, as UTC may be beyond what Python can hold.
    plain = [m.replace(tzinfo=None) - (m.utcoffset() or dt.timedelta()) for m in moments if abs(m.year - 5000) < 4990]
    for form in (lambda m: m, lambda m: m.isoformat(), lambda m: m.isoformat(sep=" ")):
        times = [time_of(form(moment))[1] for moment in moments]
        if len(plain) == 2:
            assert (times[0] < times[1]) == (plain[0] < plain[1])
            assert (times[0] == times[1]) == (plain[0] == plain[1])


def test_nanoseconds_are_not_rounded_off():
    stamps = [pd.Timestamp(1_700_000_000_000_000_001), pd.Timestamp(1_700_000_000_000_000_002)]
    assert time_of(stamps[1])[1] - time_of(stamps[0])[1] == 1
    assert time_of("2024-01-01 00:00:00.000000002")[1] - time_of("2024-01-01 00:00:00.000000001")[1] == 1


def test_numbers_are_compared_exactly():
    cells = ["9007199254740993", "9007199254740992", " -5 ", "1e3", "0.5", 3, 2.5, Decimal("0.1")]
    assert [time_of(cell) for cell in cells] == [
        ("number", value) for value in (2**53 + 1, 2**53, -5, 1000.0, 0.5, 3, 2.5, Decimal("0.1"))
    ]


@pytest.mark.parametrize(
    "cell",
    ["31.01.2024", "01/31/2024", "2024-02-30", "2024-1-5", "2024-01-31T25:00", "2024-01-31T10:00+24:00", "yesterday",
     "nan", "inf", "9" * 400, True, float("inf"), [1], {"a": 1}, b"x", dt.time(9), dt.timedelta(1), "2024-W05-1"],
)  # fmt: skip
def test_what_is_no_time_is_an_error_that_names_the_cell(cell):
    assert time_of(cell) is None
    with pytest.raises(DataError, match="expected a date") as caught:
        read_times(rows("2024-01-01", cell), "day")
    assert caught.value.where == "f.csv, row 2, column 'day'"


@pytest.mark.parametrize(
    ("cells", "told"),
    [
        (["2024-01-01", "2024-01-02", "2024-01-03 10:00"], "a date, as in 2 rows of this column, got a date and time"),
        (["2024-01-01 10:00", "2024-01-01 11:00", "2024-01-03T10:00Z"], "got a date and time with time zone"),
        (["1700000000", "1700000001", "2024-01-02"], "a number, as in 2 rows of this column, got a date"),
    ],
)
def test_two_forms_in_a_column(cells, told):
    with pytest.raises(DataError) as caught:
        read_times(rows(*cells), "day")
    assert told in caught.value.what and caught.value.where == "f.csv, row 3, column 'day'"


@pytest.mark.parametrize("nothing", [None, " ", float("nan"), pd.NaT])
def test_rows_without_a_time_are_counted(nothing):
    with pytest.raises(DataError) as caught:
        read_times(rows("2024-01-01", nothing, "2024-01-03", nothing), "day")
    assert caught.value.what == "2 of 4 rows have no time: rows 2, 4"
    assert caught.value.where == "f.csv, row 2, column 'day'"


def test_sources_of_two_forms():
    check_same_form(rows("2024-01-01"), rows("2023-01-01", source="t.csv"), "day")
    with pytest.raises(DataError, match=r"expected a date, as in f.csv, got a number") as caught:
        check_same_form(rows("2024-01-01"), rows("5", source="t.csv"), "day")
    assert caught.value.where == "t.csv, column 'day'"


# ---------------------------------------------------------------- the cut


def test_the_latest_rows_are_tested_and_those_before_them_validated():
    times = [7, 1, 10, 3, 2, 9, 4, 8, 6, 5]
    places = cut_by_time(times, {"test": 0.2, "validation": 0.3})
    assert {name: sorted(times[place] for place in rows) for name, rows in places.items()} == {
        "train": [1, 2, 3, 4, 5],
        "test": [9, 10],
        "validation": [6, 7, 8],
    }


def test_equal_times_stay_on_the_nearer_side():
    assert [len(rows) for rows in cut_by_time([1, 2, 2, 2, 3, 3], {"test": 0.5}).values()] == [4, 2]  # 2 or 5 of 3
    assert [len(rows) for rows in cut_by_time([1, 1, 2, 2, 3], {"test": 0.4}).values()] == [4, 1]  # 1 or 3 of 2
    few = {"test": 0.01, "validation": 0.01}
    assert [len(rows) for rows in cut_by_time([1] * 90 + [2] * 9 + [3], few).values()] == [90, 1, 9]


@settings(max_examples=200, deadline=None)
@given(times=st.lists(st.integers(0, 30), min_size=1, max_size=60), test=st.floats(0.01, 0.49), second=st.booleans())
def test_any_cut_is_in_order_and_the_best_of_all_borders(times, test, second):
    shares = {"test": test, **({"validation": 0.3} if second else {})}
    if len(set(times)) <= len(shares):
        return
    places = cut_by_time(times, shares)
    assert sorted(np.concatenate(list(places.values())).tolist()) == list(range(len(times)))
    ends = [[times[place] for place in places[name]] for name in ("train", "validation", "test") if name in places]
    assert all(max(before) < min(after) for before, after in pairwise(ends))
    borders = sorted(set(times))[len(shares) :]
    asked = int(round(len(times) * test, 9) + 0.5)
    best = min(abs(sum(time >= border for time in times) - asked) for border in borders)
    assert abs(len(places["test"]) - asked) == best


def test_a_group_has_the_latest_time_of_its_rows():
    assert latest_of_groups([1, 5, 3, 2], ("a", "b", "a", None)) == [3, 5, 3, 2]
