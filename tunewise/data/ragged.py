"""Rows of different lengths in one flat array: one object instead of one for each row, and a file can hold it as it is.

Shape legend: N rows, S items of all rows, B rows of a batch, T items of the longest row in it.
"""

from __future__ import annotations

from collections.abc import Iterable, Iterator, Sequence
from dataclasses import dataclass
from functools import cached_property
from itertools import chain

import numpy as np
import numpy.typing as npt


@dataclass(frozen=True, eq=False)
class Ragged:
    """Row `i` is `flat[offsets[i]:offsets[i + 1]]`; `flat` (S,) may lie in a file, `offsets` is int64 (N + 1,)."""

    flat: np.ndarray
    offsets: np.ndarray

    @classmethod
    def of(cls, rows: Sequence[Sequence[int] | np.ndarray], dtype: npt.DTypeLike) -> Ragged:
        """The same rows, flat."""
        offsets = np.zeros(len(rows) + 1, dtype=np.int64)
        np.cumsum([len(row) for row in rows], out=offsets[1:])
        flat = np.fromiter(chain.from_iterable(rows), dtype=dtype, count=offsets[-1])
        return cls(flat, offsets)

    @classmethod
    def joined(cls, parts: Sequence[Ragged]) -> Ragged:
        """The rows of all parts, in their order."""
        lengths = np.concatenate([part.lengths for part in parts])
        offsets = np.concatenate([np.zeros(1, dtype=np.int64), np.cumsum(lengths)])
        return cls(np.concatenate([part.flat for part in parts]), offsets)

    def __len__(self) -> int:
        return len(self.offsets) - 1

    def __getitem__(self, row: int) -> np.ndarray:
        return self.flat[self.offsets[row] : self.offsets[row + 1]]

    def __iter__(self) -> Iterator[np.ndarray]:
        return (self[row] for row in range(len(self)))

    @cached_property
    def lengths(self) -> np.ndarray:
        """Items of each row, int64 (N,)."""
        return np.diff(self.offsets)

    @property
    def places(self) -> tuple[np.ndarray, np.ndarray]:
        """Row and column of each item, int64 (S,) both."""
        row_S = np.repeat(np.arange(len(self)), self.lengths)
        return row_S, np.arange(len(self.flat)) - self.offsets[row_S]

    def padded(self, rows: np.ndarray, fill: int) -> tuple[np.ndarray, np.ndarray]:
        """These rows, filled up to the longest: int64 (B, T), and which places hold an item, bool (B, T)."""
        lengths_B = self.lengths[rows]
        columns_T = np.arange(lengths_B.max(initial=0))
        held_BT = columns_T < lengths_B[:, None]
        filled_BT = np.full(held_BT.shape, fill, dtype=np.int64)
        filled_BT[held_BT] = self.flat[(self.offsets[rows][:, None] + columns_T)[held_BT]]
        return filled_BT, held_BT

    def with_items(self, at: int, items: Iterable[int]) -> Ragged:
        """The same rows with these items put in at place `at` of each, at its end where it is shorter."""
        new = np.array(list(items), dtype=self.flat.dtype)
        starts_N = self.offsets[:-1] + np.minimum(at, self.lengths)
        flat = np.insert(self.flat, np.repeat(starts_N, len(new)), np.tile(new, len(self)))
        return Ragged(flat, self.offsets + len(new) * np.arange(len(self) + 1))
