"""Fewer rows that cost as much each as all of them."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import replace

import numpy as np

from tunewise.data.taken import even_places, taken
from tunewise.types import DataBundle, Split


def some_rows(split: Split, most: int) -> Split:
    """At most so many rows of a split, at even distances from the longest text to the shortest; in the split's order.

    What reading them takes is to what reading all takes as their number is to that of all.
    """
    if len(split) <= most:
        return split
    lengths = np.array([sum(map(len, texts)) for texts in split.texts])
    return taken(split, even_places(-lengths, most))


def some_of(data: DataBundle, most: Mapping[str, int]) -> DataBundle:
    """The same data with fewer rows in the splits named."""
    splits = {name: some_rows(split, most.get(name, len(split))) for name, split in data.splits.items()}
    return replace(data, splits=splits)


def times_larger(whole: DataBundle, part: DataBundle, *names: str) -> float:
    """How many times as many rows these splits have in the whole."""
    return sum(len(whole.splits[name]) for name in names) / sum(len(part.splits[name]) for name in names)
