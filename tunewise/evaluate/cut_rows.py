"""How a model does on the rows of a test set that were cut, beside those that it read whole."""

from __future__ import annotations

import math

import numpy as np

from tunewise.errors import RecipeError
from tunewise.evaluate.evaluator import Evaluator
from tunewise.evaluate.intervals import interval, resamples
from tunewise.types import Predictions, Score

FEWEST = 20
"""Of each kind of row: of fewer, an interval would tell next to nothing."""


def told_effect(
    split: str,
    predictions: Predictions,
    cut_rows: np.ndarray,
    metric: str,
    evaluator: Evaluator,
    what: str = "were cut",
) -> str | None:
    """A line with the metric on both kinds of row, with bootstrap intervals; None where there are fewer than 20 of one.
    Long rows may be easier or harder in themselves: the line says how they differ, not why.

    Args:
        cut_rows: places of the rows in `predictions` of which a text was cut.
        what: was done with them.
    """
    was_cut = np.zeros(len(predictions.rows), dtype=bool)
    was_cut[cut_rows] = True
    if min(was_cut.sum(), (~was_cut).sum()) < FEWEST:
        return None
    cut, whole = (_score(predictions.only(rows), metric, evaluator) for rows in (was_cut, ~was_cut))
    return (
        f"{split}: {metric} is {_words(cut)} on the {was_cut.sum()} rows that {what}, "
        f"{_words(whole)} on the {(~was_cut).sum()} rows that were read whole"
    )


def _score(predictions: Predictions, metric: str, evaluator: Evaluator) -> Score:
    drawn = resamples(len(predictions.rows), evaluator.resamples_for(metric), np.random.default_rng(0))
    try:
        values = np.concatenate([evaluator.values(metric, predictions, weights) for weights in drawn])
        return Score(evaluator.score_one(metric, predictions), *interval(values, evaluator.config.confidence))
    except RecipeError:  # a function of the user that cannot be computed on a part of the rows
        return Score(math.nan, math.nan, math.nan)


def _words(score: Score) -> str:
    if not math.isfinite(score.value):
        return "undefined"
    ends = f" ({score.low:.3f} to {score.high:.3f})" if math.isfinite(score.low) else ""
    return f"{score.value:.3f}{ends}"
