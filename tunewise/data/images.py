"""Images as the model reads them: pixel values, scaled and of one size."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from functools import cached_property
from typing import TYPE_CHECKING

import numpy as np

if TYPE_CHECKING:
    import torch


@dataclass(frozen=True, eq=False)
class Images:
    """`pixels` is float32 (n, channels, height, width)."""

    pixels: np.ndarray

    def __len__(self) -> int:
        return len(self.pixels)

    @cached_property
    def lengths(self) -> np.ndarray:
        return np.ones(len(self.pixels), dtype=np.int64)

    def shape(self, rows: Sequence[int] | np.ndarray) -> tuple[int, int]:
        """See `Inputs`."""
        return len(rows), 1

    def batch(self, rows: Sequence[int] | np.ndarray) -> dict[str, torch.Tensor]:
        """pixel_values, float32 (B, channels, height, width)."""
        import torch

        return {"pixel_values": torch.from_numpy(self.pixels[np.asarray(rows)])}
