"""Images as a diffusion model reads and draws them: of one size, grey or RGB, values from -1 to 1.

Shape legend: C channels, H height, W width.
"""

from __future__ import annotations

from dataclasses import dataclass
from typing import TYPE_CHECKING, Any

import numpy as np

if TYPE_CHECKING:
    from PIL.Image import Image

_GREY = 1
_RESAMPLE = 3  # Pillow's bicubic, which averages over all pixels of the original where it makes an image smaller


@dataclass(frozen=True, eq=False)
class DrawnPixels:
    """The part of `models.processor.Processor` for a network that draws images of this shape: the largest part in the
    middle of an image that has the form of what is drawn, resized with antialiasing.

    Attributes:
        shape: (C, H, W).
    """

    shape: tuple[int, int, int]
    whole: None = None

    @property
    def scale_C(self) -> np.ndarray:
        return np.full(self.shape[0], 2.0 / 255.0, dtype=np.float32)

    @property
    def shift_C(self) -> np.ndarray:
        return np.full(self.shape[0], -1.0, dtype=np.float32)

    @property
    def order(self) -> tuple[int, ...]:
        """See `Processor.order`; of an image in grey, all three are one."""
        return (0, 0, 0) if self.shape[0] == _GREY else (0, 1, 2)

    @property
    def resample(self) -> int:
        return _RESAMPLE

    def geometry(self, image: Image) -> np.ndarray:
        """An RGB image as bytes of this size, uint8 (C, H, W)."""
        channels, height, width = self.shape
        part = image.crop(self.part_of(image.size))
        sized = part if part.size == (width, height) else part.resize((width, height), _RESAMPLE)
        if channels == _GREY:
            return np.asarray(sized.convert("L"))[None].copy()
        return np.asarray(sized.convert("RGB")).transpose(2, 0, 1).copy()

    def part_of(self, size: tuple[int, int]) -> tuple[int, int, int, int]:
        """The box of pixels of an image of this width and height that is kept."""
        _, height, width = self.shape
        across, down = size
        kept_across = min(across, max(1, round(down * width / height)))
        kept_down = min(down, max(1, round(across * height / width)))
        left, top = (across - kept_across) // 2, (down - kept_down) // 2
        return left, top, left + kept_across, top + kept_down

    def cuts(self, size: tuple[int, int]) -> bool:
        """Whether something of an image of this width and height is left out."""
        return self.part_of(size) != (0, 0, *size)

    def as_dict(self) -> dict[str, Any]:
        """Everything that decides what it gives, as plain data."""
        return {"kind": "drawn", "shape": list(self.shape), "resample": _RESAMPLE}


def to_bytes(images: np.ndarray) -> np.ndarray:
    """Values of -1 to 1, of any shape, as bytes: (x / 2 + 0.5) within 0 to 1, times 255, rounded, as diffusers has
    it."""
    return (np.clip(images / 2 + 0.5, 0.0, 1.0) * 255).round().astype(np.uint8)
