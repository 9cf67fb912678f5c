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

    def batch(self, rows: Sequence[int] | np.ndarray) -> dict[str, torch.Tensor]:
        """The arguments of the model's forward pass for these rows, padded to the longest."""
        ...
