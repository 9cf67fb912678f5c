"""Texts that are longer than a model reads, in windows: which tokens each holds, and which windows are of which row.

Shape legend: N rows, W windows of all rows, B rows of a batch, K most windows of a row in it.
"""

from __future__ import annotations

import math
from collections.abc import Sequence
from dataclasses import dataclass
from functools import cached_property
from typing import TYPE_CHECKING, Any

import numpy as np

from tunewise.config.reading import WINDOW_PLACES, Chunks
from tunewise.data.cuts import spans
from tunewise.errors import RecipeError

if TYPE_CHECKING:
    import torch

    from tunewise.data.inputs import Inputs

NO_WINDOW = -1


@dataclass(frozen=True, eq=False)
class Windows:
    """The windows of row `i` are `starts[i]` to before `starts[i + 1]`, one at least; `starts` is int64 (N + 1,)."""

    starts: np.ndarray

    @classmethod
    def of_counts(cls, counts: Sequence[int] | np.ndarray) -> Windows:
        """So many for each row."""
        return cls(np.concatenate([np.zeros(1, np.int64), np.cumsum(counts, dtype=np.int64)]))

    def __len__(self) -> int:
        return len(self.starts) - 1

    @cached_property
    def counts(self) -> np.ndarray:
        """Windows of each row, int64 (N,)."""
        return np.diff(self.starts)

    def of(self, rows: np.ndarray) -> np.ndarray:
        """The numbers of the windows of these rows, row by row."""
        counts_B = self.counts[rows]
        first_B = np.cumsum(counts_B) - counts_B
        return np.arange(counts_B.sum()) + np.repeat(self.starts[rows] - first_B, counts_B)

    def places(self, rows: np.ndarray) -> np.ndarray:
        """Where the windows of each of these rows stand in `of(rows)`, int64 (B, K)."""
        counts_B = self.counts[rows]
        columns_K = np.arange(counts_B.max(initial=0))
        first_B1 = (np.cumsum(counts_B) - counts_B)[:, None]
        return np.where(columns_K < counts_B[:, None], first_B1 + columns_K, NO_WINDOW)

    def sums(self, values_W: np.ndarray) -> np.ndarray:
        """Of each row, the sum over its windows (N,)."""
        return np.add.reduceat(values_W, self.starts[:-1]) if len(self) else values_W[:0]

    def batch(self, inputs: Inputs, rows: np.ndarray) -> dict[str, torch.Tensor]:
        """The windows of these rows, of which a row of `inputs` is one each; with their places, where a row has more
        than one."""
        import torch

        batch = inputs.batch(self.of(rows))
        if (self.counts[rows] > 1).any():
            batch[WINDOW_PLACES] = torch.from_numpy(self.places(rows))
        return batch


def window_starts(tokens: int, room: int, chunks: Chunks) -> list[int]:
    """The first token of each window of `room` tokens over a text of so many. The last begins earlier than its turn, so
    that it is as full as the others: a window of three tokens would have as much say as one of five hundred. Of more
    windows than there may be, the first stay."""
    step = room - chunks.stride
    count = 1 + max(0, math.ceil((tokens - room) / step))
    return [min(step * number, max(0, tokens - room)) for number in range(min(count, chunks.most))]


def windows_of_rows(
    found: Any, rows: Sequence[int] | np.ndarray, max_length: int, chunks: Chunks
) -> dict[int, list[np.ndarray]]:
    """Of these rows, which are longer than `max_length`: the places, in the uncut row, of the tokens of each of its
    windows. Special tokens are in each, and of a pair the shorter text, of which at most half of the room is kept; the
    longer (of equals the first) is in windows.

    Args:
        found: what the tokeniser gives for all rows uncut, with the mask of special tokens.
    """
    return {int(row): _places(len(found["input_ids"][row]), [*spans(found, row)], max_length, chunks) for row in rows}


def _places(length: int, owned: list[tuple[int, int]], max_length: int, chunks: Chunks) -> list[np.ndarray]:
    sizes = [end - start for start, end in owned]
    longer = int(np.argmax(sizes))
    room = max_length - (length - sum(sizes))
    whole, (start, end) = np.arange(length), owned[longer]
    dropped = np.zeros(length, dtype=bool)
    for place, (first, behind) in enumerate(owned):
        if place != longer:
            keeps = min(sizes[place], room // 2)
            dropped[first + keeps : behind] = True
            room -= keeps
    before, after = whole[:start][~dropped[:start]], whole[end:][~dropped[end:]]
    return [
        np.concatenate([before, whole[start + first : min(end, start + first + room)], after])
        for first in window_starts(end - start, room, chunks)
    ]


def check_room(tokenizer: Any, pairs: bool, max_length: int, chunks: Chunks) -> None:
    """Makes sure that a window goes on from the one before it, whatever the texts.

    Raises:
        RecipeError: neighbours would share all of their tokens, or no token would fit.
    """
    room = max_length - tokenizer.num_special_tokens_to_add(pair=pairs)
    least = room - room // 2 if pairs else room
    if least <= chunks.stride:
        what = f"a window of {max_length} tokens has room for {max(0, least)} tokens of a text"
        beside = " beside the other text of its pair" if pairs else ""
        raise RecipeError(
            f"{what}{beside}; train.chunk_stride is {chunks.stride}",
            where="train.chunk_stride",
            fix="lower it, or raise train.max_length",
        )
