"""A trained model for images: what `tunewise.load` gives where rows are images."""

from __future__ import annotations

import hashlib
import io
from collections.abc import Sequence
from pathlib import Path
from typing import Any

import numpy as np

from tunewise.data.picture import BrokenImage, Picture, decode, read_bytes
from tunewise.engine.text_model import TextModel
from tunewise.errors import DataError

ImageRow = Path | str | bytes | Any
"""A path, the bytes of an image file, or an image of Pillow."""


class ImageModel(TextModel):
    """Predicts for images, in batches, as `TextModel` does for texts: `predict(["a.jpg", ...])`, `scores`, `decisions`.
    Images are turned, made RGB, resized and scaled as in training."""

    def scores(self, texts: Sequence[ImageRow], batch_size: int = 64) -> np.ndarray:
        """Probabilities (n, C), or values (n,) for regression, in the order of the images.

        Raises:
            DataError: an image cannot be read.
            OutOfMemoryError: a single one does not fit.
        """
        if isinstance(texts, (str, bytes, Path)):
            raise DataError("a list of images is expected; came one", fix="put it into a list")
        return super().scores(texts, batch_size)

    def _row(self, place: int, text: ImageRow) -> tuple[str, ...]:
        if isinstance(text, tuple) and len(text) == 1:  # as the rows of a Split are
            (text,) = text
        if isinstance(text, Picture):
            return (text,)
        shown = str(text) if isinstance(text, (str, Path)) else f"image {place + 1}"
        try:
            content = _content(text)
            _, facts = decode(content)
        except BrokenImage as problem:
            raise DataError(f"the image cannot be used: {problem}", where=shown, fix="give another file") from None
        return (Picture(hashlib.sha256(content).hexdigest(), shown, None, content, facts),)


def _content(image: ImageRow) -> bytes:
    """The bytes of an image file.

    Raises:
        BrokenImage: the file cannot be read, or this is no image.
    """
    from PIL import Image

    if isinstance(image, bytes):
        return image
    if isinstance(image, (str, Path)):
        return read_bytes(Path(image))
    if isinstance(image, Image.Image):
        buffer = io.BytesIO()
        (image if image.mode in ("1", "L", "LA", "P", "RGB", "RGBA", "I;16") else image.convert("RGB")).save(
            buffer, "PNG", compress_level=1
        )
        return buffer.getvalue()
    raise BrokenImage(f"expected a path, bytes or an image of Pillow, got {type(image).__name__}")
