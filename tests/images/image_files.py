"""Images made on the spot: files of many kinds, and folders that can be learned."""

from __future__ import annotations

import io
import struct
import zlib
from collections.abc import Iterable
from pathlib import Path
from typing import Any

import numpy as np
from PIL import Image

CLASSES = ("red", "green", "blue")


def noise(seed: int = 0, width: int = 24, height: int = 18, bright: int | None = None) -> Image.Image:
    """Dark noise; one channel is brighter where that is asked for."""
    values = np.random.default_rng(seed).integers(0, 120, (height, width, 3), dtype=np.uint8)
    if bright is not None:
        values[..., bright] += 100
    return Image.fromarray(values)


def file_of(image: Image.Image, kind: str = "PNG", **options: Any) -> bytes:
    buffer = io.BytesIO()
    image.save(buffer, kind, **options)
    return buffer.getvalue()


def claims(width: int, height: int) -> bytes:
    """A PNG file of a few bytes that claims to be as large as that."""

    def chunk(name: bytes, content: bytes) -> bytes:
        return struct.pack(">I", len(content)) + name + content + struct.pack(">I", zlib.crc32(name + content))

    head = struct.pack(">IIBBBBB", width, height, 8, 2, 0, 0, 0)
    return b"\x89PNG\r\n\x1a\n" + chunk(b"IHDR", head) + chunk(b"IDAT", zlib.compress(b"\0" * 64)) + chunk(b"IEND", b"")


def write_classes(folder: Path, rows: int, first: int = 0, classes: Iterable[str] = CLASSES) -> Path:
    """So many images of each class in a folder of its name: those of "red" are redder, and so on."""
    for name in classes:
        (folder / name).mkdir(parents=True)
        for number in range(first, first + rows):
            channel = CLASSES.index(name)
            image = noise(1000 * channel + number, 24 + number % 5, 18, channel)
            (folder / name / f"{number:02}.png").write_bytes(file_of(image))
    return folder


def write_photos(folder: Path, train: int = 8, held_out: int = 4) -> Path:
    """Folders of classes in folders of splits."""
    write_classes(folder / "train", train)
    write_classes(folder / "val", held_out, 100)
    write_classes(folder / "test", held_out, 200)
    return folder
