"""Rows of texts in one piece of memory: a million rows as Python objects take more than the model that reads them."""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from itertools import chain, pairwise
from operator import index
from typing import overload

import numpy as np

_ROWS_AT_ONCE = 10_000
_ANY_STRING = "utf-8", "surrogatepass"

Row = tuple[str, ...]


class PackedTexts(Sequence[Row]):
    """Rows of as many strings each, kept as UTF-8; a row becomes strings when it is asked for, and is not kept.

    A row of banking77 takes 70 bytes, as a tuple of strings 165. Equal to any sequence of the same rows.
    """

    def __init__(self, raw: bytes, ends: np.ndarray, columns: int):
        """Cell `c` of row `r` is `raw[ends[k]:ends[k + 1]]` for k = r * columns + c; `ends` is int64."""
        self._raw, self._ends, self._columns = raw, ends, columns

    @classmethod
    def of(cls, rows: Sequence[Row]) -> PackedTexts:
        """The same rows."""
        columns = len(rows[0]) if rows else 1
        ends, parts = np.zeros(len(rows) * columns + 1, dtype=np.int64), []
        for start in range(0, len(rows), _ROWS_AT_ONCE):
            cells = [cell.encode(*_ANY_STRING) for cell in chain.from_iterable(rows[start : start + _ROWS_AT_ONCE])]
            place = start * columns + 1
            ends[place : place + len(cells)] = np.fromiter(map(len, cells), np.int64, len(cells))
            parts.append(b"".join(cells))
        return cls(b"".join(parts), np.cumsum(ends, out=ends), columns)

    def __len__(self) -> int:
        return (len(self._ends) - 1) // self._columns

    @overload
    def __getitem__(self, row: int) -> Row: ...
    @overload
    def __getitem__(self, row: slice) -> tuple[Row, ...]: ...
    def __getitem__(self, row: int | slice) -> Row | tuple[Row, ...]:
        places = range(len(self))[row if isinstance(row, slice) else index(row)]
        if isinstance(places, int):
            return next(self._rows(places, places + 1))
        if places.step == 1:
            return tuple(self._rows(places.start, places.stop))
        return tuple(self[place] for place in places)

    def __iter__(self) -> Iterator[Row]:
        for start in range(0, len(self), _ROWS_AT_ONCE):
            yield from self._rows(start, min(start + _ROWS_AT_ONCE, len(self)))

    def __eq__(self, other: object) -> bool:
        if not isinstance(other, Sequence):
            return NotImplemented
        return len(self) == len(other) and all(mine == its for mine, its in zip(self, other, strict=True))

    __hash__ = None  # type: ignore[assignment]

    def __repr__(self) -> str:
        return f"{type(self).__name__}({list(self)!r})"

    def _rows(self, start: int, stop: int) -> Iterator[Row]:
        """Rows that stand one behind the other."""
        ends = self._ends[start * self._columns : stop * self._columns + 1].tolist()
        cells = (self._raw[begin:end].decode(*_ANY_STRING) for begin, end in pairwise(ends))
        return zip(*[cells] * self._columns, strict=True)


def packed(rows: Sequence[Row]) -> Sequence[Row]:
    """Rows of texts, packed; of anything else, such as pictures, and of different widths, as they are."""
    widths = set(map(len, rows))
    texts = len(widths) == 1 and 0 not in widths and set(map(type, chain.from_iterable(rows))) == {str}
    return PackedTexts.of(rows) if texts else tuple(rows)
