"""Toy data that can be learned: texts whose telling words decide the label, images whose colour does."""

from __future__ import annotations

import io
from collections.abc import Iterable
from dataclasses import replace

import numpy as np

from tunewise.data.picture import MOST_PIXELS, Picture, picture_of
from tunewise.data.pixels import Pixels
from tunewise.types import DataBundle, DataStep, Schema, Split

# Words that decide the label of a row, and words that say nothing.
TELLING = {
    "refund": ("money", "refund", "charged", "pay"),
    "delivery": ("parcel", "late", "courier", "box"),
    "praise": ("thanks", "great", "love", "happy"),
}
FILLER = ("the", "a", "my", "is", "was", "it", "and", "please", "today", "order", "with", "very", "one", "to", "for")
WORDS = (*FILLER, *(word for group in TELLING.values() for word in group))
IMAGE_SIZE = 16


def telling_words(label: int, generator: np.random.Generator) -> list[str]:
    """Two words of a class."""
    return list(generator.choice(TELLING[tuple(TELLING)[label]], size=2))


def with_filler(words: Iterable[str], generator: np.random.Generator) -> str:
    """A text of these words and two to eight that say nothing, in random order."""
    whole = [*words, *generator.choice(FILLER, size=int(generator.integers(2, 9)))]
    return " ".join(str(word) for word in generator.permutation(whole))


def toy_texts(train: int, held_out: int) -> DataBundle:
    """Texts of three classes in turn."""
    generator = np.random.default_rng(7)

    def texts(count: int) -> tuple[tuple[str, ...], ...]:
        return tuple((with_filler(telling_words(row % 3, generator), generator),) for row in range(count))

    return _bundle({name: texts(count) for name, count in _counts(train, held_out)}, ("message",), train, held_out)


def toy_images(train: int, held_out: int, size: int = IMAGE_SIZE) -> tuple[DataBundle, dict[str, Pixels]]:
    """Noise with one of three colour channels brighter; the pixels by split are beside the targets. The rows are the
    same noise as files of images, of 256 steps."""
    generator = np.random.default_rng(7)

    def images(count: int) -> Pixels:
        pixels = generator.normal(size=(count, 3, size, size)).astype(np.float32)
        pixels[np.arange(count), np.arange(count) % 3] += 1.0
        return Pixels(pixels)

    pixels = {name: images(count) for name, count in _counts(train, held_out)}
    rows = {name: tuple((_picture(values),) for values in found.stored) for name, found in pixels.items()}
    bundle = _bundle(rows, (), train, held_out)
    return replace(bundle, schema=replace(bundle.schema, image="image")), pixels


def _picture(values_CHW: np.ndarray) -> Picture:
    """Values of -4 to 4 as a PNG file in memory."""
    from PIL import Image

    steps_HWC = np.clip((values_CHW.transpose(1, 2, 0) + 4) * 32, 0, 255).astype(np.uint8)
    file = io.BytesIO()
    Image.fromarray(steps_HWC).save(file, "PNG")
    return picture_of("toy image", None, file.getvalue(), MOST_PIXELS)


def _counts(train: int, held_out: int) -> tuple[tuple[str, int], ...]:
    return ("train", train), ("validation", held_out)


def _bundle(
    texts: dict[str, tuple[tuple[str, ...], ...]], columns: tuple[str, ...], train: int, held_out: int
) -> DataBundle:
    splits = {
        name: Split(name, texts[name], np.arange(count) % 3, np.arange(1, count + 1), "toy data")
        for name, count in _counts(train, held_out)
    }
    schema = Schema("classification", columns, "label", tuple(TELLING))
    steps = (DataStep("make", train + held_out, train + held_out, "toy data"),)
    return DataBundle(splits, schema, steps, fingerprint=f"toy-{train}-{held_out}")
