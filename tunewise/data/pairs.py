"""Rows of two token sequences each: a preferred answer and another, or an answer and one that belongs elsewhere.

Shape legend: N rows, B rows of a batch, T tokens of the longest sequence in it.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field, replace
from functools import cached_property
from typing import TYPE_CHECKING

import numpy as np

from tunewise.data.labelled import LabelledTokens
from tunewise.data.packing import shared_batch, shared_shape
from tunewise.data.ragged import Ragged
from tunewise.data.tokenise import Tokens, with_prompt

if TYPE_CHECKING:
    import torch

REFERENCE, MARGIN = "reference", "margin"
"""What a batch calls the log-probabilities of an untrained model, and by how much the first is to be better."""


@dataclass(frozen=True, eq=False)
class PairTokens:
    """Two sequences for each row; `sharing`: what both begin with is read once (`packing.shared_batch`).

    `both` are 2N sequences: the first of every row, then the second of every row. `numbers`, of each row (N, ...), are
    no inputs of a model, and go into batches as float32 under their names: REFERENCE (N, 2), MARGIN (N,) and others.
    """

    both: LabelledTokens | Tokens
    numbers: Mapping[str, np.ndarray] = field(default_factory=dict)
    sharing: bool = False

    @classmethod
    def of(cls, first: LabelledTokens | Tokens, second: LabelledTokens | Tokens, **numbers: np.ndarray) -> PairTokens:
        """The pairs of two that have as many rows."""
        return cls(_joined(first, second), numbers)

    def __len__(self) -> int:
        return len(self.both) // 2

    @cached_property
    def lengths(self) -> np.ndarray:
        """Tokens of both sequences of each row, int64 (N,)."""
        return self.both.lengths.reshape(2, len(self)).sum(axis=0)

    @property
    def counts(self) -> np.ndarray | None:
        """How many tokens to learn each sequence has, int64 (N, 2); None where none are marked."""
        return None if isinstance(self.both, Tokens) else self.both.counts.reshape(2, len(self)).T

    def with_numbers(self, **numbers: np.ndarray) -> PairTokens:
        """The same sequences with more numbers of each row."""
        return replace(self, numbers={**self.numbers, **numbers})

    def with_prompt(self, prompt: Sequence[int]) -> PairTokens:
        """The same with virtual ids in every sequence (see `tokenise.with_prompt`)."""
        return replace(self, both=with_prompt(self.both, prompt))

    def shape(self, rows: Sequence[int] | np.ndarray) -> tuple[int, int]:
        """See `Inputs`: two sequences for each row, or one that both share."""
        if self.sharing:
            return shared_shape(self.both, self._sequences(rows), _side_by_side(len(rows)))
        return self.both.shape(self._sequences(rows))

    def batch(self, rows: Sequence[int] | np.ndarray) -> dict[str, torch.Tensor]:
        """What `both` gives for the first sequences of these rows, then their second ones, (2B, T), padded together;
        and the numbers of the rows, (B, ...)."""
        import torch

        rows = np.asarray(rows, dtype=np.int64)
        numbers = {name: torch.from_numpy(np.float32(values[rows])) for name, values in self.numbers.items()}
        if self.sharing:
            return {**shared_batch(self.both, self._sequences(rows), _side_by_side(len(rows))), **numbers}
        return {**self.both.batch(self._sequences(rows)), **numbers}

    def _sequences(self, rows: Sequence[int] | np.ndarray) -> np.ndarray:
        rows = np.asarray(rows, dtype=np.int64)
        return np.concatenate([rows, rows + len(self)])


def _side_by_side(rows: int) -> list[tuple[int, int]]:
    """The places of both sequences of each row of a batch."""
    return [(place, place + rows) for place in range(rows)]


def parted(batch: Mapping[str, torch.Tensor]) -> tuple[dict[str, torch.Tensor], dict[str, torch.Tensor]]:
    """A batch of pairs as what a model reads of it (2B, T), labels included, and the numbers of its rows."""
    read = {name: values for name, values in batch.items() if not values.is_floating_point()}
    return read, {name: values for name, values in batch.items() if name not in read}


def _joined(first: LabelledTokens | Tokens, second: LabelledTokens | Tokens) -> LabelledTokens | Tokens:
    rows = len(first)

    def rows_of(name: str) -> Ragged | None:
        parts = getattr(first, name), getattr(second, name)
        return None if parts[0] is None else Ragged.joined(parts)

    common = {
        "ids": rows_of("ids"),
        "lost": first.lost + second.lost,
        "cut_rows": np.concatenate([first.cut_rows, second.cut_rows + rows]),
    }
    if isinstance(first, Tokens):
        return replace(first, **common, kinds=rows_of("kinds"), cut=first.cut + second.cut)
    empty = np.concatenate([first.empty_rows, second.empty_rows + rows])
    return replace(first, **common, learnt=rows_of("learnt"), sources=rows_of("sources"), empty_rows=empty)
