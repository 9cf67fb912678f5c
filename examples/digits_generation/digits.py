"""Writes scikit-learn's handwritten digits as PNG files: eight digits to learn to draw, then two more.

    python digits.py FOLDER

Into `FOLDER/first` go the digits 0 to 7: of each, in the order of the data set, the first 150 as `train`, the rest as
`test`. Into `FOLDER/last` the digits 8 and 9: the first 95 as `train`, the next 10 as `val`, the rest as `test`.
"""

from __future__ import annotations

import sys
from collections import Counter
from pathlib import Path

from PIL import Image
from sklearn.datasets import load_digits

PARTS = {"first": {"train": 150}, "last": {"train": 95, "val": 10}}
FIRST = range(8)
"""The digits that the model learns first."""
DARKEST = 16
"""The data set counts ink out of 16, of which an image of 8 bits makes 255."""


def write(folder: Path) -> Counter[str]:
    """Both sets, into `folder`; returns how many images each part has."""
    written: Counter[str] = Counter()
    seen: Counter[int] = Counter()
    data = load_digits()
    for number, (pixels_HW, digit) in enumerate(zip(data.images, data.target, strict=True)):
        which = "first" if digit in FIRST else "last"
        place = f"{which}/{part_of(seen[digit], PARTS[which])}"
        file = folder / place / str(digit) / f"{number:04}.png"
        file.parent.mkdir(parents=True, exist_ok=True)
        Image.fromarray((pixels_HW * (255 / DARKEST)).round().astype("uint8")).save(file)
        written[place] += 1
        seen[digit] += 1
    return written


def part_of(place: int, parts: dict[str, int]) -> str:
    """The part of the `place`-th image of a digit."""
    for name, size in parts.items():
        if place < size:
            return name
        place -= size
    return "test"


if __name__ == "__main__":
    for part, images in sorted(write(Path(sys.argv[1])).items()):
        print(f"{part}: {images} images")
