"""A selection of a split's rows."""

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
