from __future__ import annotations

import pickle

import numpy as np
import pytest

from tunewise.data import packed_texts as room
from tunewise.data.fingerprint import fingerprint
from tunewise.data.packed_texts import PackedTexts, packed
from tunewise.data.picture import Picture
from tunewise.types import Schema, Split

ROWS = [("my refund", "is late"), ("", "žluťoučký kůň 🐎"), ("a\r\n\0b", "\ud83d half of a pair"), ("x", "x" * 900)]
SINGLE = [(first,) for first, _ in ROWS]


@pytest.mark.parametrize("rows", [ROWS, SINGLE, ROWS[:1], [("",)]])
@pytest.mark.parametrize("at_once", [1, 3, 10_000])
def test_rows_are_those_that_were_packed(rows: list, at_once: int, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(room, "_ROWS_AT_ONCE", at_once)
    held = packed(rows)
    assert isinstance(held, PackedTexts) and len(held) == len(rows)
    assert list(held) == rows and [held[place] for place in range(len(rows))] == rows
    assert held[-1] == rows[-1] and held[np.int64(0)] == rows[0]
    assert held[1:3] == tuple(rows[1:3]) and held[::-2] == tuple(rows[::-2]) and held[5:] == ()
    assert held == rows and held == tuple(rows) and held == pickle.loads(pickle.dumps(held))
    assert held != rows[:-1] and held != [*rows[:-1], ("other",) * len(rows[0])] and held != 3
    for outside in (len(rows), -len(rows) - 1):
        with pytest.raises(IndexError):
            held[outside]


@pytest.mark.parametrize(
    "rows", [[], [()], [("a",), ("a", "b")], [(Picture("0" * 64),)], [("a",), (Picture("0" * 64),)]]
)
def test_other_rows_stay_as_they_are(rows: list) -> None:
    held = packed(rows)
    assert isinstance(held, tuple) and held == tuple(rows)
    assert [type(cell) for row in held for cell in row] == [type(cell) for row in rows for cell in row]


def test_a_row_takes_its_letters_and_the_place_of_each_text() -> None:
    rows = [(f"message number {number:06}",) for number in range(1000)]
    assert len(pickle.dumps(packed(rows))) == pytest.approx(1000 * (len(rows[0][0]) + 8), rel=0.05)


@pytest.mark.parametrize("at_once", [1, 2, 10_000])
def test_the_fingerprint_is_that_of_one_list_of_all_rows(at_once: int, monkeypatch: pytest.MonkeyPatch) -> None:
    """sha256 of '["classification", ["text"], "label", ["a", "b"]]["test", [["one"], ["tw\\u00f6"], ["three"]]]' and of
    three int64, by sha256sum."""
    monkeypatch.setattr("tunewise.data.fingerprint._ROWS_AT_ONCE", at_once)
    schema = Schema("classification", ("text",), "label", ("a", "b"))
    for texts in ((("one",), ("twö",), ("three",)), packed([("one",), ("twö",), ("three",)])):
        split = Split("test", texts, np.array([0, 1, 0]), np.arange(3), "f.csv")
        assert (
            fingerprint(schema, {"test": split}) == "536ae43ab6ef3d85a71eacd1e1c7525fd45fe16ac2ee2970fc559f749e4e984a"
        )
