"""Bootstrap resamples of rows, and percentile intervals.

Efron (1979), Bootstrap methods: another look at the jackknife.
"""

from __future__ import annotations

from collections.abc import Iterator

import numpy as np

# Weights held at once (float64): 32 MB per matrix, whatever the number of rows or resamples.
CELLS_AT_ONCE = 4_000_000

# Where more resamples than this share leave a metric undefined, the rest says too little about its spread.
MAX_UNDEFINED = 0.1


def resamples(rows: int, count: int, rng: np.random.Generator) -> Iterator[np.ndarray]:
    """Draws `count` resamples of `rows` rows with replacement, as blocks (r, rows) of float64 multiplicities.

    A block is a view of memory that lies by row, as the metrics read it.
    """
    at_once = max(1, CELLS_AT_ONCE // max(rows, 1))
    for start in range(0, count, at_once):
        size = min(at_once, count - start)
        drawn = rng.integers(rows, size=(size, rows))
        cells = drawn * size + np.arange(size)[:, None]
        yield np.bincount(cells.ravel(), minlength=rows * size).reshape(rows, size).astype(np.float64).T


def interval(values: np.ndarray, confidence: float) -> tuple[float, float]:
    """The percentile interval of (R,) bootstrap values.

    Undefined values (nan) are left out; where they are more than a tenth, both ends are nan.
    """
    defined = values[np.isfinite(values)]
    if defined.size == 0 or defined.size < (1 - MAX_UNDEFINED) * values.size:
        return float("nan"), float("nan")
    low, high = np.quantile(defined, [(1 - confidence) / 2, (1 + confidence) / 2])
    return float(low), float(high)
