"""The learning rate of each method, where the recipe gives a grid: tried with the first seed, chosen on validation.

A method that looks poor may only have had a poor rate; with the best of a few for each, methods are compared and not
rates.
"""

from __future__ import annotations

import math
from collections.abc import Sequence
from dataclasses import dataclass, replace

from tunewise.check import Checked
from tunewise.comparison.entry import Entry
from tunewise.comparison.records import Records
from tunewise.methods import find_method
from tunewise.recipe import MethodChoice, Recipe
from tunewise.tracking.record import RunRecord


@dataclass(frozen=True)
class Trial:
    """One rate that was tried: `scale` times the method's own. `value` is the metric on validation, NaN where the run
    did not finish; `at_edge` marks a chosen one beyond which nothing was tried; `stacked` is how many trained in one
    pass over the base, 1 for a run that was alone."""

    name: str
    scale: float
    learning_rate: float | None
    value: float
    train_seconds: float
    stacked: int = 1
    chosen: bool = False
    at_edge: bool = False


def list_trials(recipe: Recipe, entries: Sequence[Entry]) -> list[Entry]:
    """The runs of the first seed (and fold) with every rate of the grid; entries without a rate as they are."""
    trials = []
    for entry in entries:
        if not is_tried(recipe, entry):
            continue
        trials += [at_scale(entry, scale) for scale in recipe.rate_grid] if has_rate(entry) else [entry]
    return trials


def with_best_rates(
    recipe: Recipe, checked: Checked, entries: Sequence[Entry], trials: Sequence[Entry], records: Records
) -> tuple[list[Entry], list[Trial]]:
    """The entries with the rate that was best on validation, and all that was tried. Of equals, and where no trial has
    finished, the one nearest to the method's own rate is taken."""
    sign = 1 if checked.evaluator.greater_is_better(checked.metric) else -1
    tried: list[Trial] = []
    best: dict[str, float] = {}
    for name in dict.fromkeys(entry.name for entry in trials if has_rate(entry)):
        own = [
            _trial(name, scale, records.finished(entry.folder), checked.metric)
            for scale, entry in zip(recipe.rate_grid, (entry for entry in trials if entry.name == name), strict=True)
        ]
        chosen = max(own, key=lambda trial: _merit(trial, sign))
        best[name] = chosen.scale
        edges = (min(recipe.rate_grid), max(recipe.rate_grid))
        tried += [
            replace(trial, chosen=True, at_edge=trial.scale in edges) if trial is chosen else trial for trial in own
        ]
    return [at_scale(entry, best[entry.name]) if entry.name in best else entry for entry in entries], tried


def is_tried(recipe: Recipe, entry: Entry) -> bool:
    """Whether it is one of the runs with which rates are tried: those of the first seed, on the first fold."""
    return entry.seed == recipe.all_seeds[0] and entry.fold in (None, 1)


def has_rate(entry: Entry) -> bool:
    """Whether it is a run of gradient descent, with a rate to choose."""
    return entry.choice is not None and "rate_scale" in find_method(entry.choice.name).Config.model_fields


def at_scale(entry: Entry, scale: float) -> Entry:
    """The same run with `scale` times its learning rate, in a folder of its own."""
    options = {**entry.choice.options, "rate_scale": scale * entry.choice.options.get("rate_scale", 1.0)}
    stem, _, seed = entry.folder.name.rpartition("-seed")
    folder = entry.folder.with_name(f"{stem}-rate{scale:g}-seed{seed}")
    return replace(entry, folder=folder, choice=MethodChoice(name=entry.choice.name, options=options))


def _trial(name: str, scale: float, record: RunRecord | None, metric: str) -> Trial:
    if record is None:
        return Trial(name, scale, None, math.nan, 0.0)
    return Trial(
        name, scale, _rate(record), record.validation[metric].value, record.costs.train_seconds, record.stacked or 1
    )


def _rate(record: RunRecord) -> float | None:
    return record.plans[0].get("learning_rate") if record.plans else None


def _merit(trial: Trial, sign: int) -> tuple[float, float]:
    value = sign * trial.value
    return (value if math.isfinite(value) else -math.inf), -abs(math.log(trial.scale))
