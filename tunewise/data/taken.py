"""Some rows of a split: those at given places, and places at even distances by size."""

from __future__ import annotations

from dataclasses import replace

import numpy as np

from tunewise.types import Split


def taken(split: Split, places: np.ndarray) -> Split:
    """The rows at these places (int64), in their order."""
    return replace(
        split,
        texts=tuple(split.texts[place] for place in places),
        targets=split.targets[places],
        rows=split.rows[places],
        columns={name: tuple(cells[place] for place in places) for name, cells in split.columns.items()},
    )


def even_places(sizes: np.ndarray, most: int) -> np.ndarray:
    """The places of so many of these sizes (n,), at even distances from the smallest to the largest; ascending."""
    order = np.argsort(sizes, kind="stable")
    return np.sort(order[np.linspace(0, len(order) - 1, most).round().astype(np.int64)])
