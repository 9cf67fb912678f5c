"""The small drawing in each row of the page's table: where an entry stands, its interval, and its seeds."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from statistics import median

from tunewise.report.entries import BLIND, Entry
from tunewise.report.figures import is_number

WIDTH, HEIGHT, MARGIN = 170, 22, 7


@dataclass(frozen=True)
class Scale:
    """Maps metric values to pixels; values outside stop at the edge."""

    low: float
    high: float

    def x(self, value: float) -> float:
        share = (value - self.low) / (self.high - self.low) if self.high > self.low else 0.5
        return round(MARGIN + min(1.0, max(0.0, share)) * (WIDTH - 2 * MARGIN), 1)

    def outside(self, value: float) -> str:
        return "left" if value < self.low else "right" if value > self.high else ""


@dataclass(frozen=True)
class Bar:
    """Pixels of one drawing; `outside` is the edge that the mean lies beyond, or nothing."""

    low: float
    high: float
    mean: float
    seeds: tuple[float, ...]
    outside: str


def scale_of(entries: Sequence[Entry], greater_is_better: bool) -> Scale | None:
    """A scale on which the better half can be told apart.

    The control and the blind baselines have no say in it, and it ends 4 times as far from the best interval end as the
    median entry's worse end lies: a majority-class baseline at 0.05 would press all others into a corner.
    """
    scored = [entry for entry in entries if is_number(entry.mean)]
    scored = [entry for entry in scored if entry.kind != "control" and entry.method not in BLIND] or scored
    if not scored:
        return None
    ends = [
        (entry.low if is_number(entry.low) else entry.mean, entry.high if is_number(entry.high) else entry.mean)
        for entry in scored
    ]
    low, high = min(end[0] for end in ends), max(end[1] for end in ends)
    if greater_is_better:
        return Scale(max(low, high - 4 * (high - median(end[0] for end in ends))), high)
    return Scale(low, min(high, low + 4 * (median(end[1] for end in ends) - low)))


def bar_of(entry: Entry, scale: Scale | None) -> Bar | None:
    """The drawing of one entry; None where it has no score."""
    if scale is None or not is_number(entry.mean):
        return None
    return Bar(
        low=scale.x(entry.low if is_number(entry.low) else entry.mean),
        high=scale.x(entry.high if is_number(entry.high) else entry.mean),
        mean=scale.x(entry.mean),
        seeds=tuple(scale.x(value) for value in entry.seeds if is_number(value)) if len(entry.seeds) > 1 else (),
        outside=scale.outside(entry.mean),
    )
