"""What a learning curve says: how sure it is, whether a power law fits, and what twice the rows would probably give.

Pure functions of the bootstrap of `comparison.statistics`. A gain is an improvement, positive whichever way the metric
goes, in the metric's unit.
"""

from __future__ import annotations

import math
from collections.abc import Sequence
from dataclasses import dataclass

import numpy as np

from tunewise.comparison.power_law import PowerLaws, fit_power_laws
from tunewise.comparison.statistics import Bootstrap, Replicates, spread
from tunewise.evaluate.intervals import interval

LEAST_SIZES = 5
"""Sizes that a fit needs: three parameters, and two more sizes to see whether they suffice."""

LEAST_BACK_SIZES = 4
POOR_FIT = 0.01
"""The law is refused where fewer of its own simulated curves lie as far from it as what was measured."""

BACK_CONFIDENCE = 0.99
LINE_POINTS = 40


@dataclass(frozen=True)
class Gain:
    """By how much the metric gets better, with its interval, from so many training rows to so many."""

    from_rows: int
    to_rows: int
    gain: float
    low: float
    high: float


@dataclass(frozen=True)
class BackTest:
    """What the sizes up to `from_rows` foretold for `to_rows`, as the metric, and what was measured there. The interval
    is that of what was foretold less what was measured; `holds` says whether 0 is in it."""

    from_rows: int
    to_rows: int
    foretold: float
    measured: float
    low: float
    high: float
    holds: bool


@dataclass(frozen=True)
class Law:
    """A fitted error(n) = a + b n^-c, the error being the distance of the metric from its best value.

    `p`: share of curves simulated from the law that lie at least as far from it as the measured one. `extrapolates`:
    whether it may tell of more rows; else `why` says why not, and `twice` is None. `line`: (rows, value, low, high).
    """

    a: float
    b: float
    c: float
    p: float
    extrapolates: bool
    why: str | None
    back_test: BackTest | None
    twice: Gain | None
    line: tuple[tuple[float, float, float, float], ...]


@dataclass(frozen=True, eq=False)
class Learning:
    """What is known of one curve. `doubling` is measured, from half of the rows to all; `twice_gains` (R,) are the
    replicates of the gain that the law foretells of twice the rows."""

    law: Law | None
    why_no_law: str | None
    doubling: Gain | None
    twice_gains: np.ndarray | None = None


def learn(boot: Bootstrap, sizes: Sequence[tuple[str, int]], seed: int = 0) -> Learning:
    """Fits the curve of one method.

    The interval of every statement comes from the same replicates: rows are resampled for all sizes together, and so
    are seeds, since one seed is one draw of rows at every size (the rows of 10% are among those of 20%).

    Args:
        sizes: the name of each size in `boot`, and its training rows, ascending; the last is all there are.
    """
    rows_P = np.array([rows for _, rows in sizes], dtype=np.float64)
    values_P = np.array([boot.methods[name].mean for name, _ in sizes])
    values_RP = joint_replicates([boot.methods[name] for name, _ in sizes], boot.confidence, seed)
    defined = np.isfinite(values_RP).all(axis=1)
    values_RP = values_RP[defined]
    errors_P, errors_RP = _errors(values_P, boot), _errors(values_RP, boot)
    doubling = _doubling(rows_P, errors_P, errors_RP, boot.confidence)
    if len(sizes) < LEAST_SIZES:
        return Learning(None, f"a fit needs {LEAST_SIZES} sizes, and {len(sizes)} have results", doubling)
    if len(values_RP) < 2 or not np.isfinite(errors_P).all():
        return Learning(None, "the metric is undefined for some size", doubling)
    fitted = _Fit(boot, rows_P, errors_P, errors_RP)
    law, found = fitted.law()
    if found is None:
        return Learning(law, None, doubling)
    gains = np.full(len(defined), np.nan)
    gains[defined] = found
    return Learning(law, None, doubling, gains)


def joint_replicates(parts: Sequence[Replicates], confidence: float, seed: int) -> np.ndarray:
    """The replicates (R, P) of the mean over seeds of each part, the same seeds being drawn for all in a replicate."""
    count, widened = len(parts[0].rows), spread(parts, confidence)
    rng = np.random.default_rng([seed, 1])
    drawn: dict[int, np.ndarray] = {}
    columns = []
    for part in parts:
        seeds = len(part.points)
        if seeds not in drawn:
            drawn[seeds] = rng.integers(seeds, size=(count, seeds))
        away = part.points - part.points.mean()
        moved = np.zeros(count)
        if part.luck_variance > 0:
            scale = math.sqrt(part.luck_variance * seeds / np.mean(away**2))
            moved = away[drawn[seeds]].mean(axis=1) * scale * widened
        columns.append(part.rows + moved)
    return np.stack(columns, axis=1)


def gains_of(boot: Bootstrap, better: str, than: str) -> np.ndarray:
    """The replicates (R,) of what one entry has more than another, as a gain."""
    one, other = boot.methods[better], boot.methods[than]
    luck = spread([one, other], boot.confidence) * (one.luck - other.luck)
    return _sign(boot) * (one.rows - other.rows + luck)


def _sign(boot: Bootstrap) -> int:
    return 1 if boot.greater_is_better else -1


def _errors(values: np.ndarray, boot: Bootstrap) -> np.ndarray:
    """The distance from the best value, or where there is none, from 0."""
    return _sign(boot) * ((boot.best or 0.0) - values)


def _doubling(rows_P: np.ndarray, errors_P: np.ndarray, errors_RP: np.ndarray, confidence: float) -> Gain | None:
    """From the size next to half of the rows, where one is within 2% of half."""
    half = int(np.argmin(np.abs(rows_P - rows_P[-1] / 2)))
    if abs(rows_P[half] / rows_P[-1] - 0.5) > 0.02 or not len(errors_RP):
        return None
    low, high = interval(errors_RP[:, half] - errors_RP[:, -1], confidence)
    return Gain(int(rows_P[half]), int(rows_P[-1]), float(errors_P[half] - errors_P[-1]), low, high)


@dataclass(frozen=True, eq=False)
class _Fit:
    """The fit of one curve and all that is asked of it."""

    boot: Bootstrap
    rows_P: np.ndarray
    errors_P: np.ndarray
    errors_RP: np.ndarray

    def law(self) -> tuple[Law, np.ndarray | None]:
        own, many = self._fitted(self.errors_P[None]), self._fitted(self.errors_RP, bounded=False)
        p, back_test = self._goodness(own), self._back_test()
        why = self._why_not(p, back_test)
        now, confidence = self.rows_P[-1], self.boot.confidence
        gains = (many.at(now) - np.maximum(many.at(2 * now), self._least))[:, 0]
        twice = None
        if why is None:
            gain = float((own.at(now) - own.at(2 * now))[0, 0])
            twice = Gain(int(now), int(2 * now), gain, *interval(gains, confidence))
        line = np.geomspace(self.rows_P[0], now if twice is None else 2 * now, LINE_POINTS)
        law = Law(
            *(float(value[0]) for value in (own.a, own.b, own.c)),
            p=p,
            extrapolates=twice is not None,
            why=why,
            back_test=back_test,
            twice=twice,
            line=tuple(self._drawn(line, own, many)),
        )
        return law, None if twice is None else gains

    @property
    def _least(self) -> float:
        """The least error there can be."""
        return -math.inf if self.boot.best is None else 0.0

    def _fitted(self, errors_RP: np.ndarray, upto: int | None = None, bounded: bool = True) -> PowerLaws:
        """The law itself keeps to errors that can be. Replicates of it do not, where they make an interval: with `a` at
        least 0 in them too, 95% intervals of the gain of twice the rows covered it in 87 to 92% of simulated curves
        whose `a` is near 0, without that bound in 95 to 98% (120 each: 10 sizes, 3 seeds, 1,000 test rows)."""
        spread_P = self.errors_RP.var(axis=0)
        weights_P = 1 / np.maximum(spread_P, max(0.01 * float(np.median(spread_P)), 1e-12))
        lowest = self._least if bounded and self.boot.best is not None else None
        return fit_power_laws(self.rows_P[:upto], errors_RP[:, :upto], weights_P[:upto], lowest)

    def _goodness(self, own: PowerLaws) -> float:
        simulated_RP = own.at(self.rows_P) + self.errors_RP - self.errors_P
        return float(np.mean(self._fitted(simulated_RP).unexplained >= own.unexplained[0]))

    def _back_test(self) -> BackTest | None:
        """What the sizes up to half of the rows would have foretold for all of them."""
        upto = int((self.rows_P <= 0.51 * self.rows_P[-1]).sum())
        if upto < LEAST_BACK_SIZES:
            return None
        now = self.rows_P[-1]
        foretold = float(self._fitted(self.errors_P[None], upto).at(now)[0, 0])
        foretold_R = np.maximum(self._fitted(self.errors_RP, upto, bounded=False).at(now)[:, 0], self._least)
        misses = foretold_R - self.errors_RP[:, -1]
        ends = sorted(-_sign(self.boot) * end for end in interval(misses, BACK_CONFIDENCE))
        return BackTest(
            from_rows=int(self.rows_P[upto - 1]),
            to_rows=int(now),
            foretold=self._value(foretold),
            measured=self._value(self.errors_P[-1]),
            low=ends[0],
            high=ends[1],
            holds=ends[0] <= 0 <= ends[1],
        )

    def _why_not(self, p: float, back_test: BackTest | None) -> str | None:
        """Why the law says nothing about more rows than there are; None where it may."""
        fall = self.errors_RP[:, 0] - self.errors_RP[:, -1]
        if interval(fall, self.boot.confidence)[0] <= 0:
            return "from the fewest rows to all of them, nothing got better that chance could not have made"
        if p < POOR_FIT:
            return f"no power law goes through these points (p = {p:.3f})"
        if back_test is not None and not back_test.holds:
            return "fitted to the sizes up to half of the rows, the law misses what all of them gave"
        return None

    def _value(self, error: float) -> float:
        return float((self.boot.best or 0.0) - _sign(self.boot) * error)

    def _drawn(self, line: np.ndarray, own: PowerLaws, many: PowerLaws):
        for rows, error, errors_R in zip(line, own.at(line)[0], many.at(line).T, strict=True):
            ends_of = interval(np.maximum(errors_R, self._least), self.boot.confidence)
            ends = sorted(self._value(end) for end in ends_of)
            yield float(rows), self._value(error), *ends
