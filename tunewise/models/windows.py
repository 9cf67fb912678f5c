"""A model that answers for texts, though it computes for their windows.

Shape legend: W windows of a batch, B its rows, K most windows of a row, C values of a window.
"""

from __future__ import annotations

from typing import Any

import torch
from torch import nn

from tunewise.config.reading import WINDOW_PLACES, Pooling


class WindowOutputs:
    """Pools the outputs (W, C) of windows to those of rows (B, C).

    Where the windows of a row stand comes with the batch, as `window_places`. Without it, every row is one window, and
    outputs stay as they are.
    """

    def __init__(self, pooling: Pooling):
        self.pooling = pooling
        self.places: torch.Tensor | None = None

    def watch(self, model: nn.Module) -> None:
        model.register_forward_pre_hook(self._before, with_kwargs=True)
        model.register_forward_hook(self._after)

    def _before(self, model: nn.Module, args: Any, kwargs: dict[str, Any]) -> tuple[Any, dict[str, Any]]:
        self.places = kwargs.get(WINDOW_PLACES)
        return args, {key: value for key, value in kwargs.items() if key != WINDOW_PLACES}

    def _after(self, model: nn.Module, args: Any, output: Any) -> None:
        if self.places is not None:
            output.logits = pooled(output.logits, self.places, self.pooling)
            self.places = None


def pooled(values_WC: torch.Tensor, places_BK: torch.Tensor, pooling: Pooling) -> torch.Tensor:
    """The mean, or the largest, of each row's windows (B, C), in fp32. A row of one window has its values as they are,
    whatever stands beside it."""
    held_BK1 = (places_BK >= 0).unsqueeze(-1)
    values_BKC = values_WC.float()[places_BK.clamp(min=0)]
    if pooling == "max":
        return torch.where(held_BK1, values_BKC, -torch.inf).amax(1)
    return torch.where(held_BK1, values_BKC, 0.0).sum(1) / held_BK1.sum(1)
