from __future__ import annotations

import json
import time
from dataclasses import asdict
from pathlib import Path

import numpy as np
import pytest

from tunewise.comparison.recommend import Recommendation, choose, mean_scores, recommend
from tunewise.comparison.statistics import bootstrap, compare_pairs
from tunewise.evaluate.evaluator import Evaluator
from tunewise.evaluate.pareto import pareto_front
from tunewise.evaluate.settings import EvaluateConfig
from tunewise.types import Predictions, Schema

SPAM = Schema("classification", ("text",), "label", ("ham", "spam"))
KINDS = {"tfidf": "baseline", "majority": "baseline", "scratch": "control"}
COSTS = {"full": 100.0, "lora": 60.0, "features": 5.0, "tfidf": 0.5, "majority": 0.0, "scratch": 100.0}


def right(share: float, rows: int = 1000) -> list[Predictions]:
    decisions = (np.arange(rows) < share * rows).astype(np.int64)
    scores = np.eye(2)[decisions]
    return [Predictions(scores, decisions, np.ones(rows, dtype=np.int64), np.arange(1, rows + 1))]


def advise(validation: dict[str, float], test: dict[str, float]) -> Recommendation | None:
    evaluate = Evaluator(SPAM, EvaluateConfig(), Path("."))
    boot = bootstrap({name: right(share) for name, share in test.items()}, evaluate, "accuracy")
    means = mean_scores({name: right(share) for name, share in validation.items()}, evaluate, "accuracy")
    assert means == pytest.approx(validation)
    chosen = choose(means, True, KINDS, COSTS)
    return recommend(means, boot, compare_pairs(boot, chosen, KINDS), COSTS, KINDS)


def test_chosen_on_validation_reported_on_test_with_what_cheaper_ones_give_up() -> None:
    shares = {"full": 0.92, "lora": 0.93, "features": 0.925, "tfidf": 0.8, "majority": 0.5}
    advice = advise({**shares, "full": 0.95}, shares)
    assert (advice.method, advice.kind) == ("full", "method")
    assert (advice.validation, advice.test.mean, advice.cost) == pytest.approx((0.95, 0.92, 100.0))
    # full is dominated on test: worse than lora and dearer; the choice stands, for it was made on validation.
    assert advice.front == ("majority", "tfidf", "features", "lora")
    alternatives = {alternative.method: alternative for alternative in advice.alternatives}
    assert list(alternatives) == ["majority", "tfidf", "features", "lora"]
    assert alternatives["features"].pair.difference == pytest.approx(-0.005)
    assert alternatives["features"].times_cheaper == pytest.approx(20)
    assert alternatives["majority"].times_cheaper is None
    assert alternatives["tfidf"].kind == "baseline" and alternatives["tfidf"].pair.distinguishable
    assert advice.against_baseline.second == "tfidf" and advice.tuning_pays is True
    assert json.loads(json.dumps(asdict(advice)))["alternatives"][2]["pair"]["first"] == "full"


def test_the_control_is_never_recommended() -> None:
    shares = {"scratch": 0.99, "features": 0.9}
    advice = advise(shares, shares)
    assert advice.method == "features"
    assert advice.front == ("features",) and advice.alternatives == ()
    assert advice.against_baseline is None and advice.tuning_pays is None
    assert advise({"scratch": 0.9}, {"scratch": 0.9}) is None


def test_a_baseline_that_wins_is_said() -> None:
    shares = {"full": 0.85, "tfidf": 0.95, "majority": 0.6}
    advice = advise(shares, shares)
    assert (advice.method, advice.kind, advice.tuning_pays) == ("tfidf", "baseline", False)
    assert advice.against_baseline is None


def test_tuning_that_wins_by_no_more_than_chance_does_not_pay() -> None:
    shares = {"full": 0.902, "tfidf": 0.9}
    evaluate = Evaluator(SPAM, EvaluateConfig(), Path("."))
    rng = np.random.default_rng(0)
    runs = {}
    for name, share in shares.items():
        decisions = (rng.permutation(1000) < share * 1000).astype(np.int64)
        said = right(1.0)[0]
        runs[name] = [Predictions(np.eye(2)[decisions], decisions, said.targets, said.rows)]
    boot = bootstrap(runs, evaluate, "accuracy")
    advice = recommend(shares, boot, compare_pairs(boot, "full", KINDS), COSTS, KINDS)
    assert advice.method == "full" and advice.tuning_pays is False
    assert advice.against_baseline.low < 0 < advice.against_baseline.high


def test_of_equals_the_cheapest_is_chosen_and_undefined_values_are_not() -> None:
    assert choose({"full": 0.9, "features": 0.9}, True, {}, COSTS) == "features"
    assert choose({"full": 0.2, "features": 0.3}, False, {}, COSTS) == "full"
    assert choose({"full": float("nan"), "features": 0.1}, True, {}, COSTS) == "features"
    assert choose({}, True, {}, COSTS) is None


def test_pareto_front() -> None:
    points = {"a": (0.9, 100.0), "b": (0.9, 50.0), "c": (0.8, 50.0), "d": (0.7, 1.0), "e": (0.7, 1.0), "f": (0.6, 2.0)}
    assert pareto_front(points) == ("d", "e", "b")
    assert pareto_front(points, greater_is_better=False) == ("d", "e", "f")
    assert pareto_front({"x": (float("nan"), 1.0), "y": (0.1, float("inf")), "z": (0.0, 3.0)}) == ("z",)
    rng = np.random.default_rng(0)
    cloud = {str(i): (float(q), float(c)) for i, (q, c) in enumerate(rng.random((60, 2)))}
    front = {n for n, p in cloud.items() if not any(o[0] > p[0] and o[1] < p[1] for o in cloud.values())}
    assert set(pareto_front(cloud)) == front


def test_a_large_comparison_takes_little_time() -> None:
    rng = np.random.default_rng(0)
    schema = Schema("classification", ("text",), "label", tuple(f"class {i}" for i in range(77)))
    targets = rng.integers(77, size=3000)
    scores, rows = np.full((3000, 77), 1 / 77), np.arange(3000)

    def run(share: float) -> Predictions:
        return Predictions(
            scores, np.where(rng.random(3000) < share, targets, rng.integers(77, size=3000)), targets, rows
        )

    runs = {f"method {i}": [run(0.9 - i / 50) for _ in range(3)] for i in range(11)}
    evaluate = Evaluator(schema, EvaluateConfig(), Path("."))
    started = time.perf_counter()
    boot = bootstrap(runs, evaluate, "f1_macro")
    compare_pairs(boot, "method 0", {"method 10": "baseline"})
    assert time.perf_counter() - started < 5
