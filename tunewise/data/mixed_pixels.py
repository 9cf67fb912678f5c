"""Images of a step that are mixtures of two: mixup of pixels, or a rectangle of the other (CutMix).

Mixup: Zhang et al. (2018), "mixup: beyond empirical risk minimization". CutMix: Yun et al. (2019), "CutMix:
regularization strategy to train strong classifiers with localizable features". As in the authors' code, there is one
share, and one rectangle, for all images that are mixed at a time.

Shape legend: R images of a step, B images of a batch, C channels, H height, W width.
"""

from __future__ import annotations

import math
from collections.abc import Sequence
from dataclasses import dataclass
from typing import TYPE_CHECKING

import numpy as np

from tunewise.data.pixels import Pixels

if TYPE_CHECKING:
    import torch

_MIXTURE = 23  # keeps these random numbers apart from all others of the same seed


@dataclass(frozen=True)
class Mixture:
    """Image i of a step is mixed with image `order_R[i]`: `share` of it is itself.

    Attributes:
        box: left, upper, right, lower of the rectangle that is the other's; None where all pixels are mixed.
    """

    order_R: np.ndarray
    share: float
    box: tuple[int, int, int, int] | None = None

    @property
    def mixed_R(self) -> np.ndarray:
        """Which images are not themselves alone, bool (R,)."""
        return (self.order_R != np.arange(len(self.order_R))) & (self.share != 1)


def mixture_generator(seed: int, step: int) -> np.random.Generator:
    """The random numbers of the mixture of an optimiser step."""
    return np.random.default_rng([seed, step, _MIXTURE])


def drawn_mixture(
    count: int, size: tuple[int, int], mixup: float, cutmix: float, generator: np.random.Generator
) -> Mixture:
    """The mixture of so many images of this width and height.

    Args:
        mixup, cutmix: alpha of the Beta distribution of the share; 0 for none. With both, either is as likely.
    """
    order_R = generator.permutation(count)
    cuts = cutmix > 0 and (not mixup or generator.random() < 0.5)
    alpha = cutmix if cuts else mixup
    share = float(generator.beta(alpha, alpha))
    if not cuts:
        return Mixture(order_R, share)
    box = cut_box(*size, share, generator)
    left, upper, right, lower = box
    return Mixture(order_R, 1 - (right - left) * (lower - upper) / (size[0] * size[1]), box)


def cut_box(width: int, height: int, share: float, generator: np.random.Generator) -> tuple[int, int, int, int]:
    """A rectangle of 1 - share of the area, as wide for its height as the image, with its centre anywhere; what would
    stand beyond the image is cut off."""
    side = math.sqrt(1 - share)
    x, y, across, down = int(generator.integers(width)), int(generator.integers(height)), width * side, height * side
    a, b = int(across) // 2, int(down) // 2
    return max(0, x - a), max(0, y - b), min(width, x + a), min(height, y + b)


@dataclass(frozen=True, eq=False)
class MixedPixels:
    """Images of a step, as `Inputs`, each mixed with another when a batch of them is read."""

    pixels: Pixels
    mixture: Mixture

    def __len__(self) -> int:
        return len(self.pixels)

    @property
    def lengths(self) -> np.ndarray:
        return self.pixels.lengths

    def shape(self, rows: Sequence[int] | np.ndarray) -> tuple[int, int]:
        """See `Inputs`."""
        return self.pixels.shape(rows)

    def batch(self, rows: Sequence[int] | np.ndarray) -> dict[str, torch.Tensor]:
        """pixel_values, float32 (B, C, H, W)."""
        mixture, rows = self.mixture, np.asarray(rows)
        if mixture.share == 1:
            return self.pixels.batch(rows)
        one_BCHW, other_BCHW = (self.pixels.batch(some)["pixel_values"] for some in (rows, mixture.order_R[rows]))
        if mixture.box is None:
            return {"pixel_values": mixture.share * one_BCHW + (1 - mixture.share) * other_BCHW}
        left, upper, right, lower = mixture.box
        one_BCHW[:, :, upper:lower, left:right] = other_BCHW[:, :, upper:lower, left:right]
        return {"pixel_values": one_BCHW}
