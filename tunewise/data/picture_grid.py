"""Images that were drawn, as images of Pillow and side by side in one.

Shape legend: N images, C channels, H height, W width.
"""

from __future__ import annotations

import math
from typing import TYPE_CHECKING

import numpy as np

if TYPE_CHECKING:
    from PIL.Image import Image

GAP = 2
WHITE = 255
SMALL = 32
"""Pixels of a side below which images of a grid are shown larger."""


def as_images(images_NCHW: np.ndarray) -> list[Image]:
    """Bytes as images, grey where there is one channel."""
    from PIL import Image

    return [
        Image.fromarray(image_CHW[0] if len(image_CHW) == 1 else np.ascontiguousarray(image_CHW.transpose(1, 2, 0)))
        for image_CHW in images_NCHW
    ]


def grid(images_NCHW: np.ndarray, columns: int | None = None) -> Image:
    """Images row by row, with white between them; small ones with each pixel as a square of several.

    Args:
        images_NCHW: uint8, one at least.
        columns: where left out, about as many as rows.
    """
    count, channels, height, width = images_NCHW.shape
    columns = columns or math.ceil(math.sqrt(count))
    rows, times = math.ceil(count / columns), max(1, math.ceil(SMALL / max(1, min(height, width))))
    larger = images_NCHW.repeat(times, axis=2).repeat(times, axis=3)
    down, across = height * times + GAP, width * times + GAP
    whole_CHW = np.full((channels, rows * down - GAP, columns * across - GAP), WHITE, dtype=np.uint8)
    for place, image_CHW in enumerate(larger):
        top, left = place // columns * down, place % columns * across
        whole_CHW[:, top : top + down - GAP, left : left + across - GAP] = image_CHW
    return as_images(whole_CHW[None])[0]
