from __future__ import annotations

from dataclasses import replace
from pathlib import Path

import numpy as np
import pytest
import scipy.stats

from tunewise.comparison.statistics import bootstrap, compare_pairs, holm, summarise
from tunewise.errors import RecipeError, StoreError
from tunewise.evaluate.evaluator import Evaluator
from tunewise.evaluate.settings import EvaluateConfig
from tunewise.types import Predictions, Schema

SPAM = Schema("classification", ("text",), "label", ("ham", "spam"))
PRICE = Schema("regression", ("text",), "price")


def make(schema: Schema = SPAM, **options) -> Evaluator:
    return Evaluator(schema, EvaluateConfig(**options), Path("."))


def from_right(right: np.ndarray) -> Predictions:
    """Predictions of class 1 everywhere, right where told."""
    targets = np.ones(len(right), dtype=np.int64)
    decisions = np.where(right, 1, 0)
    return Predictions(np.eye(2)[decisions] * 0.8 + 0.1, decisions, targets, np.arange(1, len(right) + 1))


def runs_of(rng: np.random.Generator, ease: np.ndarray, seeds: int, luck: float, skill: float = 0.0):
    """One method's seeds: a row is right where its ease, the skill, the seed's luck and noise of the row add up."""
    fortune = skill + luck * rng.normal(size=(seeds, 1))
    return [from_right(row > 0) for row in ease + fortune + rng.normal(size=(seeds, len(ease)))]


@pytest.mark.parametrize(("seeds", "luck"), [(1, 0.0), (3, 0.0), (3, 0.1), (3, 0.35), (5, 0.35)])
def test_interval_of_no_difference_covers_zero_in_95_of_100(seeds: int, luck: float) -> None:
    evaluate = make(resamples=100)
    covered = false_alarms = 0
    for trial in range(300):
        rng = np.random.default_rng([seeds, int(100 * luck), trial])
        ease = rng.normal(size=200) + 1
        runs = {name: runs_of(rng, ease, seeds, luck) for name in ("one", "other")}
        (pair,) = compare_pairs(bootstrap(runs, evaluate, "accuracy", seed=trial), "one", {})
        covered += pair.low <= 0 <= pair.high
        false_alarms += pair.distinguishable
    # Binomial: 285 expected, 3 standard deviations are 11 (300 trials); the few-seeds correction is approximate.
    assert 272 <= covered <= 297
    assert false_alarms <= 27


def test_an_interval_stays_within_what_is_possible_at_both_ends():
    """Seeds as far apart as 0.1 and 0.9: Student's t with two degrees of freedom would go beyond both ends."""
    runs = {"unsure": [from_right(np.arange(300) < 300 * share) for share in (0.05, 0.9, 0.99)]}
    (summary,) = summarise(bootstrap(runs, make(resamples=200), "accuracy"))
    assert (summary.low, summary.high) == (0.0, 1.0)


def test_interval_of_the_mean_is_as_wide_as_students_where_seeds_make_the_noise() -> None:
    """Rows with no noise of their own (a huge test set of equal rows): only seeds are left."""
    shares = np.array([0.70, 0.74, 0.81])
    runs = {"one": [from_right(np.arange(20_000) < round(share * 20_000)) for share in shares]}
    (summary,) = summarise(bootstrap(runs, make(), "accuracy"))
    half = scipy.stats.t.ppf(0.975, 2) * shares.std(ddof=1) / np.sqrt(3)
    assert summary.mean == pytest.approx(shares.mean())
    assert summary.sd == pytest.approx(shares.std(ddof=1))
    assert summary.seeds == 3
    assert (summary.high - summary.low) / 2 == pytest.approx(half, rel=0.3)


def test_one_seed_gives_the_interval_of_the_rows() -> None:
    right = np.arange(500) < 400
    (summary,) = summarise(bootstrap({"one": [from_right(right)]}, make(resamples=4000), "accuracy"))
    half = 1.96 * np.sqrt(0.8 * 0.2 / 500)
    assert summary.sd is None
    assert (summary.low, summary.high) == pytest.approx((0.8 - half, 0.8 + half), abs=0.1 * half)


def test_difference_is_paired() -> None:
    """100 of 1000 rows are wrong for both, 20 more for one: pairing shows it, two separate intervals do not."""
    first, second = np.ones(1000, dtype=bool), np.ones(1000, dtype=bool)
    first[:100] = second[:120] = False
    boot = bootstrap({"good": [from_right(first)], "less": [from_right(second)]}, make(resamples=4000), "accuracy")
    (pair,) = compare_pairs(boot, "good", {})
    half = 1.96 * np.sqrt(0.02 * 0.98 / 1000)
    assert pair.difference == pytest.approx(0.02)
    assert (pair.low, pair.high) == pytest.approx((0.02 - half, 0.02 + half), abs=0.1 * half)
    assert pair.distinguishable and pair.better == "good"
    summaries = summarise(boot)
    assert summaries[0].low < summaries[1].high, "apart from each other the two intervals overlap"


def test_p_value_agrees_with_the_paired_z_test() -> None:
    rng = np.random.default_rng(0)
    first, second = rng.random(800) < 0.82, rng.random(800) < 0.79
    boot = bootstrap({"a": [from_right(first)], "b": [from_right(second)]}, make(resamples=20_000), "accuracy")
    (pair,) = compare_pairs(boot, "a", {})
    apart = first.astype(float) - second
    wanted = 2 * scipy.stats.norm.sf(abs(apart.mean()) / (apart.std() / np.sqrt(800)))
    assert 0.01 < wanted < 0.5
    assert pair.p == pytest.approx(wanted, rel=0.15)
    assert pair.p_adjusted == pair.p


def test_holm_on_an_example_by_hand() -> None:
    # Sorted 0.01, 0.02, 0.03, 0.04 times 4, 3, 2, 1: 0.04, 0.06, 0.06, 0.04 -> never below the one before.
    assert holm([0.04, 0.01, 0.03, 0.02]) == pytest.approx([0.06, 0.04, 0.06, 0.06])
    assert holm([0.5, 0.9]) == pytest.approx([1.0, 1.0])
    assert holm([0.001, 0.5, 0.02]) == pytest.approx([0.003, 0.5, 0.04])
    assert holm([]) == []


def test_pairs_are_the_chosen_one_against_all_and_methods_against_baselines() -> None:
    rng = np.random.default_rng(1)
    skills = {"full": 0.9, "lora": 0.8, "tfidf": 0.0, "majority": -0.7, "scratch": -0.5}
    kinds = {"tfidf": "baseline", "majority": "baseline", "scratch": "control"}
    ease = rng.normal(size=600)
    seeds = {"tfidf": 1, "majority": 1}
    runs = {name: runs_of(rng, ease, seeds.get(name, 3), 0.05, skill) for name, skill in skills.items()}
    boot = bootstrap(runs, make(), "accuracy")
    pairs = compare_pairs(boot, "full", kinds)
    assert [(pair.first, pair.second) for pair in pairs] == [
        ("full", "lora"),
        ("full", "tfidf"),
        ("full", "majority"),
        ("full", "scratch"),
        ("lora", "tfidf"),
        ("lora", "majority"),
        ("scratch", "tfidf"),
        ("scratch", "majority"),
    ]
    by_names = {(pair.first, pair.second): pair for pair in pairs}
    assert by_names["full", "tfidf"].better == "full"
    assert by_names["scratch", "tfidf"].better == "tfidf"
    assert [pair.p_adjusted for pair in pairs] == holm([pair.p for pair in pairs])
    assert pairs == compare_pairs(bootstrap(runs, make(), "accuracy"), "full", kinds), "the seed decides"
    with_baseline = compare_pairs(boot, "tfidf", kinds)
    assert len({frozenset((pair.first, pair.second)) for pair in with_baseline}) == len(with_baseline) == 7


def test_many_sure_differences_stay_sure_after_correction() -> None:
    """The correction for n pairs wants p below 0.05 / n, which 100 resamples cannot show: more are drawn."""
    runs = {"best": [from_right(np.arange(300) < 290)]}
    runs |= {f"method {i}": [from_right(np.arange(300) < 150 + i)] for i in range(19)}
    kinds = {"method 0": "baseline", "method 1": "baseline"}
    pairs = compare_pairs(bootstrap(runs, make(resamples=100), "accuracy"), "best", kinds)
    assert len(pairs) == 19 + 2 * 17
    assert all(pair.distinguishable and pair.better == "best" for pair in pairs if pair.first == "best")


def test_lower_is_better_where_the_metric_says_so() -> None:
    rng = np.random.default_rng(2)
    targets = rng.normal(size=200)
    near, far = (targets + rng.normal(size=200) * size for size in (0.1, 1.0))
    rows = np.arange(200)
    runs = {"near": [Predictions(near, near, targets, rows)], "far": [Predictions(far, far, targets, rows)]}
    (pair,) = compare_pairs(bootstrap(runs, make(PRICE), "mae"), "far", {})
    assert pair.difference > 0 and pair.better == "near"


def test_equal_predictions_are_never_told_apart() -> None:
    same = from_right(np.arange(100) < 70)
    boot = bootstrap({"a": [same, same, same], "b": [same]}, make(), "f1_macro")
    (pair,) = compare_pairs(boot, "a", {})
    assert (pair.difference, pair.low, pair.high, pair.p) == pytest.approx((0, 0, 0, 1))
    assert not pair.distinguishable and pair.better is None


def test_undefined_metric_tells_nothing_apart() -> None:
    targets = np.linspace(0, 1, 50)
    flat, good, rows = np.zeros(50), targets + 0.01, np.arange(50)
    runs = {"mean": [Predictions(flat, flat, targets, rows)], "full": [Predictions(good, good, targets, rows)] * 2}
    boot = bootstrap(runs, make(PRICE), "pearson")
    (pair,) = compare_pairs(boot, "full", {"mean": "baseline"})
    assert np.isnan([pair.difference, pair.low, pair.high]).all()
    assert pair.p == 1 and not pair.distinguishable
    assert np.isnan(summarise(boot)[0].mean) and summarise(boot)[1].mean == pytest.approx(1)


def test_methods_without_a_finished_run_are_left_out() -> None:
    boot = bootstrap({"failed": [], "full": [from_right(np.arange(10) < 7)]}, make(), "accuracy")
    assert [summary.method for summary in summarise(boot)] == ["full"]
    assert compare_pairs(boot, None, {}) == ()
    assert summarise(bootstrap({}, make(), "accuracy")) == ()


def test_other_rows_and_unknown_metrics_are_refused() -> None:
    one = from_right(np.arange(10) < 7)
    for other in (replace(one, rows=one.rows + 1), replace(one, targets=1 - one.targets), from_right(np.ones(9))):
        with pytest.raises(StoreError, match="'lora' are not on the same rows as those of 'full'"):
            bootstrap({"full": [one], "lora": [other]}, make(), "accuracy")
    with pytest.raises(RecipeError, match="no metric 'acuracy'"):
        bootstrap({"full": [one]}, make(), "acuracy")


def test_an_interval_stays_within_what_is_possible() -> None:
    """Near-perfect predictions with very unequal seeds: the spread of seeds alone would pass 1."""
    targets = np.arange(60) % 2
    runs = []
    for wrong in (0, 0, 12):
        decisions = np.where(np.arange(60) < wrong, 1 - targets, targets)
        runs.append(Predictions(np.eye(2)[decisions], decisions, targets, np.arange(60)))
    evaluator = Evaluator(Schema("classification", ("text",), "label", ("a", "b")), EvaluateConfig(), Path())
    (summary,) = summarise(bootstrap({"m": runs}, evaluator, "accuracy"))
    assert summary.low < summary.mean < summary.high == 1.0
