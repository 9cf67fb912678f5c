"""Which method to take, and what a cheaper one gives up: chosen on validation, reported on test."""

from __future__ import annotations

import math
from collections.abc import Mapping
from dataclasses import dataclass

import numpy as np

from tunewise.comparison.statistics import Bootstrap, Kind, Pair, Runs, Summary, summarise
from tunewise.evaluate.evaluator import Evaluator
from tunewise.evaluate.pareto import pareto_front


@dataclass(frozen=True)
class Alternative:
    """A cheaper method on the Pareto front.

    `pair` is the chosen method against it on test; `times_cheaper` the chosen method's cost over its own (None where
    its own is 0).
    """

    method: str
    kind: Kind
    test: Summary
    cost: float
    times_cheaper: float | None
    pair: Pair


@dataclass(frozen=True)
class Recommendation:
    """What to take.

    `test` and every pair are on the test rows; `validation` is the mean on which the choice was made. `front` is the
    Pareto front of test metric and cost, cheapest first. `against_baseline` is the chosen method against the baseline
    that is best on validation (None where a baseline was chosen or there is none); `tuning_pays` says whether it wins
    by more than chance (False where a baseline was chosen, None without baselines).
    """

    metric: str
    greater_is_better: bool
    confidence: float
    method: str
    kind: Kind
    validation: float
    test: Summary
    cost_name: str
    cost: float
    alternatives: tuple[Alternative, ...]
    front: tuple[str, ...]
    against_baseline: Pair | None
    tuning_pays: bool | None


def mean_scores(runs: Runs, evaluator: Evaluator, metric: str) -> dict[str, float]:
    """The metric of each method, mean over its seeds."""
    return {
        method: float(np.mean([evaluator.score_one(metric, predictions) for predictions in seeds]))
        for method, seeds in runs.items()
        if len(seeds)
    }


def choose(
    validation: Mapping[str, float], greater_is_better: bool, kinds: Mapping[str, Kind], costs: Mapping[str, float]
) -> str | None:
    """The method with the best validation mean; of equals the cheapest. Baselines may win; the control may not, nor may
    soups, which are made by what validation says."""
    sign, apart = 1 if greater_is_better else -1, ("control", "soup")
    candidates = [name for name, value in validation.items() if kinds.get(name) not in apart and math.isfinite(value)]
    return max(candidates, key=lambda name: (sign * validation[name], -costs.get(name, math.inf)), default=None)


def recommend(
    validation: Mapping[str, float],
    test: Bootstrap,
    pairs: tuple[Pair, ...],
    costs: Mapping[str, float],
    kinds: Mapping[str, Kind],
    cost_name: str = "train_seconds",
) -> Recommendation | None:
    """The choice, with the cheaper methods that are worth a look; None where no candidate has a value.

    Args:
        validation: mean of the metric per method (`mean_scores`).
        test: the bootstrap of the test rows.
        pairs: `compare_pairs(test, chosen, kinds)` for the method that `choose` gives; the correction for many
            comparisons that was made there holds here too.
        costs: mean cost per method, in the unit of `cost_name`.
    """
    known = {name: value for name, value in validation.items() if name in test.methods}
    chosen = choose(known, test.greater_is_better, kinds, costs)
    if chosen is None:
        return None
    summaries = {summary.method: summary for summary in summarise(test)}
    against = {pair.second: pair for pair in pairs if pair.first == chosen}
    points = {
        name: (summary.mean, costs[name])
        for name, summary in summaries.items()
        if kinds.get(name) != "control" and name in costs
    }
    front = pareto_front(points, test.greater_is_better)
    cost = costs.get(chosen, math.nan)
    alternatives = tuple(
        Alternative(
            method=name,
            kind=kinds.get(name, "method"),
            test=summaries[name],
            cost=costs[name],
            times_cheaper=cost / costs[name] if costs[name] > 0 else None,
            pair=against[name],
        )
        for name in front
        if costs[name] < cost
    )
    baselines = {name: value for name, value in known.items() if kinds.get(name) == "baseline"}
    best_baseline = choose(baselines, test.greater_is_better, kinds, costs)
    pair = None if best_baseline in (None, chosen) else against[best_baseline]
    return Recommendation(
        metric=test.metric,
        greater_is_better=test.greater_is_better,
        confidence=test.confidence,
        method=chosen,
        kind=kinds.get(chosen, "method"),
        validation=known[chosen],
        test=summaries[chosen],
        cost_name=cost_name,
        cost=cost,
        alternatives=alternatives,
        front=front,
        against_baseline=pair,
        tuning_pays=None if best_baseline is None else pair is not None and pair.better == chosen,
    )
