"""What training and prediction read batch by batch: token ids or pixels."""

from __future__ import annotations

from collections.abc import Sequence
from typing import TYPE_CHECKING, Protocol

import numpy as np

if TYPE_CHECKING:
    import torch


class Inputs(Protocol):
    """The encoded rows of a split. `lengths` int64 (n,) is in tokens; 1 for each row of a kind that has none."""

    @property
    def lengths(self) -> np.ndarray: ...

    def __len__(self) -> int: ...

    def shape(self, rows: Sequence[int] | np.ndarray) -> tuple[int, int]:
        """How many sequences the model reads for a batch of these rows (a row in windows is several), and the tokens of
        each, padding included."""
        ...

    def batch(self, rows: Sequence[int] | np.ndarray) -> dict[str, torch.Tensor]:
        """The arguments of the model's forward pass for these rows, padded to the longest."""
        ...


def sizes_of(inputs: Inputs) -> np.ndarray:
    """What each row takes in a pass without gradients, int64 (n,), in tokens: its length; of an image, which has no
    tokens, by its pixels."""
    return getattr(inputs, "sizes", inputs.lengths)


def items_of(inputs: Inputs, rows: Sequence[int] | np.ndarray) -> int:
    """How many tokens of these rows are to be learnt: of those alone an output layer of a language model is computed.
    0 for inputs that have none."""
    counts = getattr(inputs, "counts", None)
    return 0 if counts is None else int(counts[np.asarray(rows)].sum())
