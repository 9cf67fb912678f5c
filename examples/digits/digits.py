"""Writes scikit-learn's handwritten digits as PNG files, in class folders.

    python digits.py FOLDER

Of each digit, in the order of the data set: the first 100 images are to pretrain on, the next 10 to train on, 20 for
validation, and the rest (44 to 53) for the test. No image is in two of these. Into `FOLDER/first` go the digits 0 to 7,
with what is to pretrain on as `train`; into `FOLDER/all` all ten digits.
"""

from __future__ import annotations

import sys
from collections import Counter
from pathlib import Path

from PIL import Image
from sklearn.datasets import load_digits

PARTS = {"pretraining": 100, "train": 10, "val": 20}
FIRST = range(8)
"""The digits that the model is pretrained on."""
DARKEST = 16
"""The data set counts dark pixels out of 16, of which an image of 8 bits makes 255."""


def write(folder: Path) -> Counter[str]:
    """Both sets, into `folder`; returns how many images each part has."""
    written: Counter[str] = Counter()
    seen: Counter[int] = Counter()
    data = load_digits()
    for number, (pixels_HW, digit) in enumerate(zip(data.images, data.target, strict=True)):
        image = Image.fromarray((pixels_HW * (255 / DARKEST)).round().astype("uint8"))
        for place in places(part_of(seen[digit]), int(digit)):
            file = folder / place / str(digit) / f"{number:04}.png"
            file.parent.mkdir(parents=True, exist_ok=True)
            image.save(file)
            written[place] += 1
        seen[digit] += 1
    return written


def part_of(place: int) -> str:
    """The part of the `place`-th image of a digit."""
    for name, size in PARTS.items():
        if place < size:
            return name
        place -= size
    return "test"


def places(part: str, digit: int) -> list[str]:
    """The folders that an image goes into."""
    if part == "pretraining":
        return ["first/train"] if digit in FIRST else []
    return [f"all/{part}", *([f"first/{part}"] if digit in FIRST and part != "train" else [])]


if __name__ == "__main__":
    for part, images in sorted(write(Path(sys.argv[1])).items()):
        print(f"{part}: {images} images")
