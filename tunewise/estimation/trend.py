"""A line through measured times that a few slow ones do not move."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass

import numpy as np


@dataclass(frozen=True)
class Trend:
    """`start + slope x work`, in seconds; neither is below 0."""

    start: float
    slope: float

    def at(self, work: np.ndarray) -> np.ndarray:
        """Seconds for each amount of work, (n,)."""
        return self.start + self.slope * work


def trend_of(work: Sequence[float], seconds: Sequence[float]) -> Trend:
    """The line of Theil and Sen: its slope is the median over all pairs of points, its start the median of what is left
    of each. A machine that is busy for a moment makes some steps slow; least squares would follow them.

    Where times fall with work, which noise alone does, the line is level.

    Raises:
        ValueError: there is no point.
    """
    work_N, seconds_N = np.asarray(work, dtype=np.float64), np.asarray(seconds, dtype=np.float64)
    if not len(work_N):
        raise ValueError("a line needs at least one point")
    first, second = np.triu_indices(len(work_N), k=1)
    apart = work_N[second] - work_N[first]
    slopes = (seconds_N[second] - seconds_N[first])[apart != 0] / apart[apart != 0]
    slope = max(0.0, float(np.median(slopes))) if len(slopes) else 0.0
    start = float(np.median(seconds_N - slope * work_N))
    if start >= 0:
        return Trend(start, slope)
    return Trend(0.0, float(np.median(seconds_N / work_N)))  # work is above 0, or start would not be below it
