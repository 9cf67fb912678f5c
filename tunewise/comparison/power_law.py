"""A power law through a learning curve: error(n) = a + b n^-c, fitted to many replicates of it at once.

Hestness et al. 2017, Deep Learning Scaling is Predictable, Empirically; Rosenfeld et al. 2020, A Constructive
Prediction of the Generalization Error Across Scales. `a` is the error that no amount of data takes away.

Shape legend: P sizes of the training set, R replicates, K exponents that are tried.
"""

from __future__ import annotations

from dataclasses import dataclass

import numpy as np

SLOWEST, FASTEST = 0.01, 2.0
"""Bounds of the exponent c. Below, the law cannot be told from a + b log n on any curve; those measured are 0.07 to
1."""

TRIED = 80


@dataclass(frozen=True, eq=False)
class PowerLaws:
    """R fitted laws: each array is (R,). `unexplained` is the weighted sum of squared residuals."""

    a: np.ndarray
    b: np.ndarray
    c: np.ndarray
    unexplained: np.ndarray

    def at(self, rows: np.ndarray | float) -> np.ndarray:
        """The errors (R, P) with so many training rows (P,)."""
        return self.a[:, None] + self.b[:, None] * np.atleast_1d(rows)[None, :] ** -self.c[:, None]


def fit_power_laws(
    rows_P: np.ndarray, errors_RP: np.ndarray, weights_P: np.ndarray, lowest: float | None = 0.0
) -> PowerLaws:
    """Least squares with bounds: c from 0.01 to 2, b at least 0, a at least `lowest`.

    For a given c the law is linear in a and b, where the bounded optimum is known in closed form; so c alone is
    searched (variable projection: Golub and Pereyra 1973): on a geometric grid, then on a finer one about its best.

    Args:
        weights_P: of the squared residuals.
        lowest: None where an error may be below zero.
    """
    most = rows_P.max()
    coarse_K = np.geomspace(SLOWEST, FASTEST, TRIED)
    tried = [_solve(rows_P / most, errors_RP, weights_P, np.full(len(errors_RP), c), lowest) for c in coarse_K]
    best = np.argmin([law.unexplained for law in tried], axis=0)
    step = coarse_K[1] / coarse_K[0]
    finer = [
        _solve(
            rows_P / most,
            errors_RP,
            weights_P,
            np.clip(coarse_K[best] * step**shift, SLOWEST, FASTEST),
            lowest,
        )
        for shift in np.linspace(-1, 1, TRIED // 2 + 1)
    ]
    found = np.argmin([law.unexplained for law in finer], axis=0)
    a, b, c, unexplained = (
        np.stack([getattr(law, name) for law in finer])[found, np.arange(len(found))]
        for name in ("a", "b", "c", "unexplained")
    )
    return PowerLaws(a, b * most**c, c, unexplained)


def _solve(
    sizes_P: np.ndarray, errors_RP: np.ndarray, weights_P: np.ndarray, c_R: np.ndarray, lowest: float | None
) -> PowerLaws:
    """The best a and b for the exponent of each replicate."""
    weights_P = weights_P / weights_P.sum()
    x_RP = sizes_P[None, :] ** -c_R[:, None]
    x_mean, y_mean = x_RP @ weights_P, errors_RP @ weights_P
    x_away = x_RP - x_mean[:, None]
    b = np.maximum(0.0, (x_away * errors_RP) @ weights_P / ((x_away**2) @ weights_P))
    a = y_mean - b * x_mean
    if lowest is not None:
        through = np.maximum(0.0, (x_RP * (errors_RP - lowest)) @ weights_P / ((x_RP**2) @ weights_P))
        b, a = np.where(a < lowest, through, b), np.maximum(a, lowest)
    unexplained = ((errors_RP - a[:, None] - b[:, None] * x_RP) ** 2) @ weights_P
    return PowerLaws(a, b, c_R, unexplained)
