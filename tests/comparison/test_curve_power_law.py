"""The fit of a power law: exact on exact curves, and as good as scipy's bounded least squares on noisy ones."""

from __future__ import annotations

import numpy as np
import pytest
from scipy.optimize import least_squares

from tunewise.comparison.power_law import FASTEST, SLOWEST, fit_power_laws

ROWS = np.linspace(0.1, 1, 10) * 5000


@pytest.mark.parametrize(("a", "b", "c"), [(0.05, 3.0, 0.35), (0.0, 2.0, 0.3), (0.1, 20.0, 0.7), (0.2, 0.0, 0.5)])
def test_an_exact_curve_is_found(a: float, b: float, c: float) -> None:
    law = fit_power_laws(ROWS, (a + b * ROWS**-c)[None], np.ones(10))
    np.testing.assert_allclose(law.at(ROWS)[0], a + b * ROWS**-c, atol=2e-5)
    assert law.at(10_000)[0, 0] == pytest.approx(a + b * 10_000**-c, abs=2e-4)
    if b:
        assert law.c[0] == pytest.approx(c, rel=0.02) and law.a[0] == pytest.approx(a, abs=2e-3)


def test_no_worse_than_scipy_on_noisy_curves() -> None:
    """The least of four starts of scipy's trust-region fit, in the same bounds."""
    rng = np.random.default_rng(0)
    for _ in range(25):
        a, b, c = rng.uniform(0, 0.2), rng.uniform(0.5, 5), rng.uniform(0.1, 1)
        errors, weights = a + b * ROWS**-c + rng.normal(0, 0.004, 10), rng.uniform(0.5, 2, 10)
        weights /= weights.sum()

        def away(p: np.ndarray, errors=errors, weights=weights) -> np.ndarray:
            return np.sqrt(weights) * (errors - p[0] - p[1] * (ROWS / 5000) ** -p[2])

        bounds = ([0, 0, SLOWEST], [np.inf, np.inf, FASTEST])
        theirs = min(
            (
                least_squares(away, [0.05, 0.1, start], bounds=bounds, xtol=1e-14, ftol=1e-14)
                for start in (0.05, 0.3, 1, 1.8)
            ),
            key=lambda found: found.cost,
        )
        law = fit_power_laws(ROWS, errors[None], weights)
        assert law.unexplained[0] <= 2 * theirs.cost * 1.005
        assert law.at(10_000)[0, 0] == pytest.approx(theirs.x[0] + theirs.x[1] * 2 ** -theirs.x[2], abs=3e-4)


def test_replicates_are_fitted_as_one_by_one_and_keep_the_bounds() -> None:
    rng = np.random.default_rng(1)
    many = rng.uniform(0, 0.3, size=(50, 10))
    laws = fit_power_laws(ROWS, many, np.ones(10))
    assert (
        (laws.a >= 0).all() and (laws.b >= 0).all() and (laws.c >= SLOWEST).all() and (laws.c <= FASTEST + 1e-12).all()
    )
    for place in (0, 17, 49):
        alone = fit_power_laws(ROWS, many[place : place + 1], np.ones(10))
        np.testing.assert_allclose(alone.at(ROWS)[0], laws.at(ROWS)[place], rtol=1e-12)


def test_weights_decide_which_points_are_met() -> None:
    errors = 0.1 + 3 * ROWS**-0.5
    errors[0] += 0.2
    law = fit_power_laws(ROWS, errors[None], np.array([1e-9, *np.ones(9)]))
    np.testing.assert_allclose(law.at(ROWS)[0][1:], errors[1:], atol=2e-5)


def test_without_a_lowest_error_it_may_be_below_zero() -> None:
    errors = -0.5 + 3 * ROWS**-0.4
    free = fit_power_laws(ROWS, errors[None], np.ones(10), lowest=None)
    np.testing.assert_allclose(free.at(ROWS)[0], errors, atol=1e-4)
    assert free.a[0] == pytest.approx(-0.5, abs=0.01)
