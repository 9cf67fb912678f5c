"""What is read of a text that is too long: what the rooms that cut, encode, compute and hand over agree on."""

from __future__ import annotations

from dataclasses import dataclass
from typing import Literal

from tunewise.types import Kept

Pooling = Literal["mean", "max"]


@dataclass(frozen=True)
class Chunks:
    """A text that is too long is read in windows, `most` at most, of which neighbours share `stride` tokens at least;
    `pooling` makes one output of theirs."""

    stride: int = 0
    most: int = 8
    pooling: Pooling = "mean"


WINDOW_PLACES = "window_places"
"""The argument of a forward pass that says where the windows of each of B rows stand in the batch, int64 (B, K), -1
where a row has fewer than K."""

UNLABELLED = -100
"""In the place of a label: nothing is to be learnt there (torch's own mark)."""

PACKED_ROWS = "packed_rows"
"""Key of a batch of packed rows: the row (from 0) that each place belongs to, int64 (P, L); -1 for padding and for what
rows share. It is no argument of a forward pass."""

Reading = Kept | Chunks
"""What is read of a text that is too long: one part of it, or windows over all of it."""


def kept_word(kept: Reading) -> str:
    """The word of `train.cut` for it."""
    return "chunks" if isinstance(kept, Chunks) else kept
