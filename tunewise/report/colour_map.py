"""A map of numbers as a picture to lay over an image: PNG as a data URI, clear where a number is least.

Shape legend: h and w height and width of a map.
"""

from __future__ import annotations

import base64
import io
from collections.abc import Sequence

import numpy as np

SIDE = 64
"""Pixels of the picture's longer side: between the cells of a map, values are interpolated."""
STEPS = 64
COLOURS = (
    (65, 4, 157),
    (144, 13, 164),
    (204, 71, 120),
    (241, 130, 76),
    (252, 194, 42),
    (240, 249, 33),
)
"""From the least to the most: those of the colour map plasma (Smith, van der Walt 2015), which get lighter evenly."""
LEAST, MOST = 0.0, 0.78
"""How opaque the ends are, 0 to 1."""


def overlay(map_hw: Sequence[Sequence[float]]) -> str:
    """Numbers from 0 to the largest as colours; below 0 as 0. All clear where none is above 0."""
    from PIL import Image

    values_hw = np.clip(np.array(map_hw, dtype=np.float32), 0.0, None)
    most = float(values_hw.max())
    if most > 0:
        values_hw = values_hw / most
    height, width = values_hw.shape
    scale = SIDE / max(height, width)
    size = max(1, round(width * scale)), max(1, round(height * scale))
    smooth = np.asarray(Image.fromarray(values_hw).resize(size, Image.Resampling.BICUBIC))
    picture = Image.fromarray(np.round(np.clip(smooth, 0, 1) * (STEPS - 1)).astype(np.uint8), "L")
    picture = picture.convert("P")
    shares = np.linspace(0, 1, STEPS)
    picture.putpalette(np.stack([_channel(shares, place) for place in range(3)], axis=1).ravel().tolist())
    opaque = np.round(255 * (LEAST + (MOST - LEAST) * shares)).astype(np.uint8)
    buffer = io.BytesIO()
    picture.save(buffer, "PNG", optimize=True, transparency=opaque.tobytes())
    return f"data:image/png;base64,{base64.b64encode(buffer.getvalue()).decode()}"


def _channel(shares: np.ndarray, place: int) -> np.ndarray:
    known = [colour[place] for colour in COLOURS]
    return np.round(np.interp(shares, np.linspace(0, 1, len(known)), known)).astype(np.uint8)
