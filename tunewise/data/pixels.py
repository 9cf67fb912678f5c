"""Images as bytes, of one size and mapped from a file, and as the model reads them: a batch of scaled values.

Shape legend: N images, B images of a batch, C channels, H height, W width.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass, field
from functools import cached_property
from typing import TYPE_CHECKING

import numpy as np

from tunewise.data.cuts import Losses

if TYPE_CHECKING:
    import torch

PIXELS_OF_A_TOKEN = 64
"""In passes without gradients: 32 images of 90 x 90 pixels are a batch as 32 texts of 128 tokens are. MobileNetV2 on
one core with images of 224 x 224, by images of a batch, MiB and images a second of CPU time: 64: 1,302 and 11; 32: 578
and 12; 16: 422 and 18; 8: 185 and 21; 4: 101 and 28."""


@dataclass(frozen=True, eq=False)
class Pixels:
    """`stored` is uint8 (N, C, H, W), of which values are made by `scale_C` and `shift_C`; or float32, where these are
    None. `losses`: nothing of an image is lost that is told. `elsewhere_seconds`: what making it took another run."""

    stored: np.ndarray
    scale_C: np.ndarray | None = None
    shift_C: np.ndarray | None = None
    elsewhere_seconds: float = 0.0
    losses: Losses = field(default_factory=Losses)
    words: None = None
    windows: None = None

    def __len__(self) -> int:
        return len(self.stored)

    @property
    def each_window(self) -> Pixels:
        """Rows are one window each."""
        return self

    @cached_property
    def lengths(self) -> np.ndarray:
        return np.ones(len(self.stored), dtype=np.int64)

    @cached_property
    def sizes(self) -> np.ndarray:
        """Of each image what it takes in a pass, as so many tokens: see `inputs.sizes_of`."""
        return np.full(len(self.stored), -(-self.stored.shape[2] * self.stored.shape[3] // PIXELS_OF_A_TOKEN))

    def shape(self, rows: Sequence[int] | np.ndarray) -> tuple[int, int]:
        """See `Inputs`."""
        return len(rows), 1

    def batch(self, rows: Sequence[int] | np.ndarray) -> dict[str, torch.Tensor]:
        """pixel_values, float32 (B, C, H, W)."""
        import torch

        pixels_BCHW = self.stored[np.asarray(rows)]
        if self.scale_C is None:
            return {"pixel_values": torch.from_numpy(pixels_BCHW)}
        values_BCHW = pixels_BCHW.astype(np.float32)
        values_BCHW *= self.scale_C[:, None, None]
        values_BCHW += self.shift_C[:, None, None]
        return {"pixel_values": torch.from_numpy(values_BCHW)}
