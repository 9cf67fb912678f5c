"""Small copies of images for pages: JPEG as data URIs, of the pixels alone.

Shape legend: C channels, H height, W width.
"""

from __future__ import annotations

import base64
import io
from collections.abc import Mapping
from typing import TYPE_CHECKING, Any

import numpy as np

from tunewise.data.picture import BrokenImage, Picture, decode

if TYPE_CHECKING:
    from PIL.Image import Image

SIDE = 96
"""Pixels of the longer side."""
QUALITY = 80
START = "data:image/jpeg;base64,"


class Thumbnails:
    """Thumbnails of a page, each made once, and no more than so many.

    Attributes:
        made: data URIs by the sha256 of the images.
        gone: images that could not be read any more, as their source names them.
        beyond: how many were asked for and not made, since the page has its number.
    """

    def __init__(self, most: int):
        self.most = most
        self.made: dict[str, str] = {}
        self.gone: dict[str, str] = {}
        self._beyond: set[str] = set()

    @property
    def beyond(self) -> int:
        return len(self._beyond)

    def key(self, picture: Picture) -> str | None:
        """Under what name `made` has it; None where it has not."""
        name = str(picture)
        if name in self.made:
            return name
        if name in self.gone:
            return None
        if len(self.made) >= self.most:
            self._beyond.add(name)
            return None
        uri = thumbnail_of(picture)
        if uri is None:
            self.gone[name] = picture.shown
            return None
        self.made[name] = uri
        return name

    def as_dict(self) -> Mapping[str, Any]:
        """Plain data."""
        return {"made": self.made, "gone": list(self.gone.values()), "beyond": self.beyond}


def thumbnail_of(picture: Picture, side: int = SIDE) -> str | None:
    """An image as a data URI, turned as it is to be seen; None where it cannot be read any more."""
    try:
        image, _ = decode(picture.read())
    except BrokenImage:
        return None
    return data_uri(image, side)


def data_uri(image: Image, side: int = SIDE) -> str:
    """An RGB image as a data URI of JPEG, its longer side no longer than so many pixels; without anything that its
    file said beside the pixels (EXIF with the place where it was taken, comments, colour profiles)."""
    from PIL import Image as Images

    small = image.copy()
    small.thumbnail((side, side), Images.Resampling.BICUBIC, reducing_gap=3.0)
    bare, buffer = Images.fromarray(np.asarray(small)), io.BytesIO()
    bare.save(buffer, "JPEG", quality=QUALITY, optimize=True)
    return START + base64.b64encode(buffer.getvalue()).decode()


def as_the_model_sees(stored_CHW: np.ndarray, side: int = SIDE) -> str:
    """The same of what a processor made of an image: bytes, or values, of which the least becomes black and the largest
    white."""
    from PIL import Image as Images

    if stored_CHW.dtype != np.uint8:
        low, high = float(stored_CHW.min()), float(stored_CHW.max())
        stored_CHW = np.round((stored_CHW - low) * (255 / max(high - low, 1e-12))).astype(np.uint8)
    return data_uri(Images.fromarray(np.ascontiguousarray(stored_CHW.transpose(1, 2, 0))), side)
