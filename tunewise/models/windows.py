"""A model that answers for texts, though it computes for their windows.

Shape legend: W windows of a batch, B its rows, K most windows of a row, C values of a window.
"""

from __future__ import annotations

import torch

from tunewise.config.reading import WINDOW_PLACES, Pooling
from tunewise.models.placed_outputs import PlacedOutputs


class WindowOutputs(PlacedOutputs):
    """Pools the outputs (W, C) of windows to those of rows (B, C).

    Where the windows of a row stand comes with the batch, as `window_places`. Without it, every row is one window, and
    outputs stay as they are.
    """

    key = WINDOW_PLACES

    def __init__(self, pooling: Pooling):
        super().__init__()
        self.pooling = pooling

    def placed(self, logits_WC: torch.Tensor, places_BK: torch.Tensor) -> torch.Tensor:
        return pooled(logits_WC, places_BK, self.pooling)


def pooled(values_WC: torch.Tensor, places_BK: torch.Tensor, pooling: Pooling) -> torch.Tensor:
    """The mean, or the largest, of each row's windows (B, C), in fp32. A row of one window has its values as they are,
    whatever stands beside it."""
    held_BK1 = (places_BK >= 0).unsqueeze(-1)
    values_BKC = values_WC.float()[places_BK.clamp(min=0)]
    if pooling == "max":
        return torch.where(held_BK1, values_BKC, -torch.inf).amax(1)
    return torch.where(held_BK1, values_BKC, 0.0).sum(1) / held_BK1.sum(1)
