from __future__ import annotations

from pathlib import Path

import numpy as np
import pytest

from tunewise.data.ragged import Ragged

ROWS = [[3, 1], [], [4, 1, 5], [9]]


@pytest.fixture
def rows() -> Ragged:
    return Ragged.of(ROWS, np.int32)


def test_rows_lengths_and_places(rows: Ragged) -> None:
    assert [row.tolist() for row in rows] == [rows[place].tolist() for place in range(4)] == ROWS
    assert (len(rows), rows.lengths.tolist(), rows.flat.dtype) == (4, [2, 0, 3, 1], np.int32)
    assert [places.tolist() for places in rows.places] == [[0, 0, 2, 2, 2, 3], [0, 1, 0, 1, 2, 0]]
    assert rows.lengths is rows.lengths


def test_padded(rows: Ragged) -> None:
    filled, held = rows.padded(np.array([2, 1, 3, 2]), -7)
    assert filled.dtype == np.int64
    assert filled.tolist() == [[4, 1, 5], [-7, -7, -7], [9, -7, -7], [4, 1, 5]]
    assert held.tolist() == [[True] * 3, [False] * 3, [True, False, False], [True] * 3]
    assert rows.padded(np.array([1]), 0)[0].shape == (1, 0)


def test_joined(rows: Ragged) -> None:
    both = Ragged.joined([rows, Ragged.of([], np.int32), Ragged.of([[7], [8, 8]], np.int32)])
    assert [row.tolist() for row in both] == [*ROWS, [7], [8, 8]]
    assert both.flat.dtype == np.int32


@pytest.mark.parametrize("at", [0, 1, 2, 5])
def test_with_items(at: int, rows: Ragged) -> None:
    assert [row.tolist() for row in rows.with_items(at, (70, 71))] == [[*row[:at], 70, 71, *row[at:]] for row in ROWS]


def test_an_item_that_does_not_fit_is_an_error() -> None:
    with pytest.raises(OverflowError):
        Ragged.of([[1, 300]], np.int8)


def test_rows_in_a_file_are_read_where_they_lie(rows: Ragged, tmp_path: Path) -> None:
    np.save(tmp_path / "flat.npy", rows.flat)
    mapped = Ragged(np.load(tmp_path / "flat.npy", mmap_mode="r"), rows.offsets)
    assert all(np.array_equal(*pair) for pair in zip(mapped.padded([0, 2], 0), rows.padded([0, 2], 0), strict=True))
    assert [row.tolist() for row in mapped.with_items(1, [0])] == [row.tolist() for row in rows.with_items(1, [0])]
