"""Ratios between the sides of a job: round by round, since what disturbs a machine disturbs a whole round."""

from __future__ import annotations

import statistics
from collections.abc import Mapping
from dataclasses import dataclass
from typing import Any


@dataclass(frozen=True)
class Ratio:
    """Of a number of rounds: median, least, greatest."""

    median: float
    least: float
    greatest: float

    def __str__(self) -> str:
        return f"{self.median:.2f} ({self.least:.2f} to {self.greatest:.2f})"


def ratio(over: Mapping[int, Mapping[str, Any]], under: Mapping[int, Mapping[str, Any]], key: str) -> Ratio | None:
    """`over[key] / under[key]` in the rounds that both have; None where there is no such round."""
    rounds = [seed for seed in over if seed in under and over[seed].get(key) and under[seed].get(key)]
    found = [over[seed][key] / under[seed][key] for seed in rounds]
    return Ratio(statistics.median(found), min(found), max(found)) if found else None


def middle(measured: Mapping[int, Mapping[str, Any]], key: str) -> float | None:
    """The median over the rounds."""
    found = [one[key] for one in measured.values() if one.get(key) is not None]
    return statistics.median(found) if found else None


def mean(measured: Mapping[int, Mapping[str, Any]], key: str) -> float | None:
    found = [one[key] for one in measured.values() if one.get(key) is not None]
    return statistics.fmean(found) if found else None


def least(measured: Mapping[int, Mapping[str, Any]], key: str) -> float | None:
    found = [one[key] for one in measured.values() if one.get(key) is not None]
    return min(found) if found else None
