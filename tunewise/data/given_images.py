"""An image as a user gives it to a trained model: a path, bytes, or an image of Pillow."""

from __future__ import annotations

import hashlib
import io
from pathlib import Path
from typing import Any

from tunewise.data.picture import BrokenImage, Picture, decode, read_bytes
from tunewise.errors import DataError

GivenImage = Path | str | bytes | Any

_SAVED_AS_THEY_ARE = ("1", "L", "LA", "P", "RGB", "RGBA", "I;16")


def given_picture(place: int, image: GivenImage) -> Picture:
    """The picture of a row, whose content is in memory.

    Args:
        place: of the row, for messages.

    Raises:
        DataError: it cannot be used.
    """
    if isinstance(image, tuple) and len(image) == 1:  # as the rows of a Split are
        (image,) = image
    if isinstance(image, Picture):
        return image
    shown = str(image) if isinstance(image, (str, Path)) else f"image {place + 1}"
    try:
        content = _content(image)
        _, facts = decode(content)
    except BrokenImage as problem:
        raise DataError(f"the image cannot be used: {problem}", where=shown, fix="give another file") from None
    return Picture(hashlib.sha256(content).hexdigest(), shown, None, content, facts)


def _content(image: GivenImage) -> bytes:
    """The bytes of an image file.

    Raises:
        BrokenImage: the file cannot be read, or this is no image.
    """
    from PIL import Image

    if isinstance(image, bytes):
        return image
    if isinstance(image, (str, Path)):
        return read_bytes(Path(image))
    if not isinstance(image, Image.Image):
        raise BrokenImage(f"expected a path, bytes or an image of Pillow, got {type(image).__name__}")
    buffer = io.BytesIO()
    (image if image.mode in _SAVED_AS_THEY_ARE else image.convert("RGB")).save(buffer, "PNG", compress_level=1)
    return buffer.getvalue()
