"""Images as a net reads them: decoded, resized and cropped once for all runs, and kept as bytes."""

from __future__ import annotations

import hashlib
import importlib.metadata
import json
import time
from collections.abc import Callable, Iterator, Sequence
from pathlib import Path
from typing import TYPE_CHECKING, Any

import numpy as np

from tunewise.commit import read_manifest
from tunewise.commit.arrays import write_array_of
from tunewise.data.picture import BrokenImage, Picture, decode
from tunewise.data.picture_table import each
from tunewise.data.pixels import Pixels
from tunewise.engine.kept import Context
from tunewise.errors import DataError, StoreError
from tunewise.models.load import Net
from tunewise.models.processor import Processor

if TYPE_CHECKING:
    from PIL.Image import Image

AT_ONCE = 256
"""Images that are decoded before they are written; of 224 x 224 pixels they take 39 MB."""

_FILE = "pixels.npy"


def encode_pictures(rows: Sequence[tuple[str, ...]], net: Net, context: Context | None) -> Pixels:
    """What the model reads of rows of one picture each.

    Args:
        context: how to read what another run has kept, and to keep what is made; None where nothing is kept: then the
            bytes stay in memory.

    Raises:
        DataError: an image has changed or gone since the data was read.
    """
    processor, pictures = net.processor, [picture for (picture,) in rows]
    stop = (lambda: None) if context is None else context.stop
    made: list[np.ndarray] = []
    begun = time.perf_counter()

    def pixels(stored: np.ndarray, spared: float = 0.0) -> Pixels:
        return Pixels(stored, processor.scale_C, processor.shift_C, elsewhere_seconds=spared)

    def in_memory() -> np.ndarray:
        return np.concatenate([_empty(processor), *_parts(pictures, processor, stop)])

    if context is None or not pictures:
        return pixels(in_memory())

    def keep() -> Path | None:
        start = time.perf_counter()
        empty = _empty(processor)
        about: dict[str, Any] = {
            "kind": "pixels",
            "what": "x".join(map(str, processor.shape)),
            "model": net.located.name,
            "data": context.data,
            "rows": len(pictures),
        }

        def write(folder: Path) -> None:
            parts = _parts(pictures, processor, stop)
            write_array_of(folder / _FILE, (len(pictures), *empty.shape[1:]), empty.dtype, parts)
            about["seconds"] = time.perf_counter() - start

        size = len(pictures) * int(np.prod(empty.shape[1:])) * empty.dtype.itemsize
        folder = context.store.put(key, write, about, size=size)
        made.append(np.empty(0) if folder else in_memory())
        return folder

    key = _key(pictures, processor)
    folder, _ = context.find_or_make(key, keep)
    if folder is None:
        return pixels(made[0])
    try:
        stored = np.load(folder / _FILE, "r", allow_pickle=False)
        spared = 0.0 if made else read_manifest(folder)["about"]["seconds"] - (time.perf_counter() - begun)
        return pixels(stored, max(0.0, spared))
    except (OSError, StoreError):  # it had to make room in the moment since
        return pixels(in_memory())


def _empty(processor: Processor) -> np.ndarray:
    """No image, of the shape and kind that images have."""
    kind = np.float32 if processor.scale_C is None else np.uint8
    return np.empty((0, *processor.shape), dtype=kind)


def _parts(pictures: Sequence[str], processor: Processor, stop: Callable[[], None]) -> Iterator[np.ndarray]:
    """The bytes of images (n, C, H, W), some at a time, in their order."""
    for start in range(0, len(pictures), AT_ONCE):
        stop()
        yield np.stack(each(lambda picture: _geometry(picture, processor), pictures[start : start + AT_ONCE]))


def _geometry(picture: str, processor: Processor) -> np.ndarray:
    return processor.geometry(decoded(picture))


def decoded(picture: str, enough: tuple[int, int] | None = None) -> Image:
    """The image of a row in RGB.

    Args:
        enough: see `data.picture.decode`.

    Raises:
        DataError: it has changed or gone since the data was read.
    """
    if not isinstance(picture, Picture):
        raise DataError(f"the model reads images; a row is {picture!r:.80}", fix="give images")
    try:
        return decode(picture.read(), enough=enough)[0]
    except BrokenImage as problem:
        raise DataError(
            f"an image cannot be used any more: {problem}",
            where=picture.shown,
            fix="leave the images as they are while a run reads them; start again with the data as it is now",
        ) from None


def _key(pictures: Sequence[str], processor: Processor) -> str:
    """sha256 of everything that decides the bytes."""
    versions = [importlib.metadata.version(package) for package in ("transformers", "pillow", "numpy")]
    digest = hashlib.sha256(json.dumps(["pixels", 1, processor.as_dict(), versions]).encode())
    for picture in pictures:
        digest.update(picture.encode())
    return digest.hexdigest()
