"""What a curve is said to mean, on simulated learners whose law is known: intervals cover, and doubts are told."""

from __future__ import annotations

from pathlib import Path

import numpy as np
import pytest

from tunewise.comparison.learning import gains_of, joint_replicates, learn
from tunewise.comparison.statistics import Bootstrap, bootstrap, compare_pairs
from tunewise.evaluate.evaluator import Evaluator
from tunewise.evaluate.settings import EvaluateConfig
from tunewise.types import Predictions, Schema

SPAM = Schema("classification", ("text",), "label", ("ham", "spam"))
SHARES = np.arange(1, 11) / 10
ROWS = 5000


def predictions(wrong: np.ndarray) -> Predictions:
    targets = np.ones(len(wrong), dtype=np.int64)
    decisions = np.where(wrong, 0, 1)
    return Predictions(np.eye(2)[decisions] * 0.8 + 0.1, decisions, targets, np.arange(1, len(wrong) + 1))


def simulate(
    rng: np.random.Generator, errors: np.ndarray, *, tests: int = 1000, seeds: int = 3, resamples: int = 400
) -> Bootstrap:
    """Learners with these expected errors at each share. The luck of a draw is nested, as its rows are; most test rows
    are hard or easy for all."""
    hard = rng.uniform(size=tests)
    runs: dict[str, list[Predictions]] = {f"{share:g}": [] for share in SHARES}
    for _ in range(seeds):
        walk = np.cumsum(rng.normal(size=10) * np.sqrt(0.1)) / SHARES
        lucky = errors * np.exp(0.018 * (walk + 0.3 * rng.normal(size=10)))
        for share, error in zip(SHARES, lucky, strict=True):
            own = np.where(rng.uniform(size=tests) < 0.25, rng.uniform(size=tests), hard)
            runs[f"{share:g}"].append(predictions(own < error))
    evaluator = Evaluator(SPAM, EvaluateConfig(resamples=resamples), Path("."))
    return bootstrap(runs, evaluator, "accuracy", seed=int(rng.integers(1 << 30)))


def sizes_of(boot: Bootstrap) -> list[tuple[str, int]]:
    return [(name, round(float(name) * ROWS)) for name in boot.methods]


def law_of(a: float, b: float, c: float) -> np.ndarray:
    return a + b * (SHARES * ROWS) ** -c


def test_twice_the_rows_of_a_known_law() -> None:
    a, b, c = 0.05, 3.0, 0.35
    boot = simulate(np.random.default_rng(0), law_of(a, b, c))
    found = learn(boot, sizes_of(boot))
    true = b * ROWS**-c - b * (2 * ROWS) ** -c
    twice = found.law.twice
    assert found.law.extrapolates and found.law.why is None and found.law.back_test.holds
    assert (twice.from_rows, twice.to_rows) == (5000, 10_000)
    assert twice.low <= true <= twice.high and twice.gain == pytest.approx(true, abs=0.015)
    now, then = found.law.a + found.law.b * ROWS**-found.law.c, found.law.a + found.law.b * (2 * ROWS) ** -found.law.c
    assert twice.gain == pytest.approx(now - then)
    line = np.array(found.law.line)
    assert line[0, 0] == pytest.approx(500) and line[-1, 0] == pytest.approx(10_000)
    assert (line[:, 2] <= line[:, 1]).all() and (line[:, 1] <= line[:, 3]).all() and (np.diff(line[:, 1]) >= 0).all()
    half, whole = boot.methods["0.5"].mean, boot.methods["1"].mean
    assert found.doubling.gain == pytest.approx(whole - half)
    assert (found.doubling.from_rows, found.doubling.to_rows) == (2500, 5000)


def test_a_flat_curve_foretells_nothing() -> None:
    boot = simulate(np.random.default_rng(1), np.full(10, 0.2))
    found = learn(boot, sizes_of(boot))
    assert not found.law.extrapolates and found.law.twice is None and found.twice_gains is None
    assert "nothing got better that chance could not have made" in found.law.why
    assert np.array(found.law.line)[-1, 0] == pytest.approx(5000), "the line ends where the measurements do"


def test_a_curve_that_is_no_power_law_foretells_nothing() -> None:
    """Flat, then a step: as when a class has enough rows only then."""
    boot = simulate(np.random.default_rng(2), np.where(SHARES < 0.65, 0.4, 0.1), tests=3000)
    found = learn(boot, sizes_of(boot))
    assert found.law.twice is None and ("no power law" in found.law.why or "misses" in found.law.why)


def test_too_few_sizes_are_not_fitted() -> None:
    boot = simulate(np.random.default_rng(3), law_of(0.05, 3, 0.35))
    found = learn(boot, sizes_of(boot)[-4:])
    assert found.law is None and found.why_no_law == "a fit needs 5 sizes, and 4 have results"
    assert learn(boot, sizes_of(boot)[-1:]).doubling is None


def test_metrics_that_fall_give_the_same_gains() -> None:
    """The same runs judged by the share of wrong decisions."""
    boot = simulate(np.random.default_rng(4), law_of(0.05, 3, 0.35))
    turned = {
        name: type(part)(1 - part.points, 1 - part.rows, -part.luck, part.luck_variance)
        for name, part in boot.methods.items()
    }
    falling = Bootstrap("hamming_loss", False, boot.confidence, turned, 0.0)
    one, other = learn(boot, sizes_of(boot)), learn(falling, sizes_of(falling))
    assert other.law.twice.gain == pytest.approx(one.law.twice.gain)
    assert (other.law.twice.low, other.law.twice.high) == pytest.approx((one.law.twice.low, one.law.twice.high))
    assert other.doubling.gain == pytest.approx(one.doubling.gain)


def test_gains_of_methods_are_those_of_the_pairs() -> None:
    boot = simulate(np.random.default_rng(5), law_of(0.05, 3, 0.35))
    (pair,) = [pair for pair in compare_pairs(boot, "0.5", {}) if pair.second == "1"]
    low, high = np.quantile(gains_of(boot, "1", "0.5"), [0.025, 0.975])
    assert (low, high) == pytest.approx((-pair.high, -pair.low), abs=1e-9)


def test_seeds_are_drawn_together() -> None:
    """Luck that a seed has at every size cancels out of differences between sizes, as it does in truth."""
    rng = np.random.default_rng(6)
    evaluator = Evaluator(SPAM, EvaluateConfig(resamples=400), Path("."))
    shared = rng.uniform(size=500)
    wrong = [shared < error for error in (0.2, 0.3, 0.4)]
    boot = bootstrap(
        {"a": [predictions(w) for w in wrong], "b": [predictions(w) for w in wrong]}, evaluator, "accuracy"
    )
    joint = joint_replicates([boot.methods["a"], boot.methods["b"]], boot.confidence, 0)
    np.testing.assert_allclose(joint[:, 0] - joint[:, 1], 0, atol=1e-12)
    assert joint[:, 0].std() > 1.5 * boot.methods["a"].rows.std()


@pytest.mark.slow
@pytest.mark.parametrize(
    ("a", "b", "c"), [(0.05, 3.0, 0.35), (0.0, 2.0, 0.3), (0.02, 1.0, 0.2), (0.1, 20.0, 0.7)], ids=str
)
def test_intervals_cover_in_95_of_100(a: float, b: float, c: float) -> None:
    trials, covered, doubled, told = 100, 0, 0, 0
    gain = b * ROWS**-c - b * (2 * ROWS) ** -c
    last = b * (ROWS / 2) ** -c - b * ROWS**-c
    for trial in range(trials):
        boot = simulate(np.random.default_rng([trial, int(100 * c)]), law_of(a, b, c), resamples=300)
        found = learn(boot, sizes_of(boot))
        doubled += found.doubling.low <= last <= found.doubling.high
        if found.law.twice:
            told += 1
            covered += found.law.twice.low <= gain <= found.law.twice.high
    # Binomial at 95% of 100: 95, three standard deviations are 6.5.
    assert told >= 90 and covered >= 0.89 * told and doubled >= 89, (told, covered, doubled)
