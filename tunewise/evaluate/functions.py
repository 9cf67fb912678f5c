"""The user's own metrics: `file.py:function` from the recipe's folder, run only where the user allows it."""

from __future__ import annotations

import math
from collections.abc import Callable
from pathlib import Path
from typing import Any

import numpy as np

from tunewise.errors import RecipeError
from tunewise.evaluate.metrics import Metric
from tunewise.evaluate.own_code import METRIC, function_of
from tunewise.evaluate.sample import Sample
from tunewise.types import Predictions, Task

# A Python function is called once per resample: 200 give an interval's ends to about a tenth of its width.
MAX_RESAMPLES = 200


def load_function(reference: str, folder: Path, allow_code: bool, task: Task) -> Metric:
    """The metric that calls the user's function; it bears the function's name.

    Raises:
        RecipeError: code is not allowed, the reference is not `file.py:function`, the file is not in the folder or
            cannot be run, or it holds no such function.
    """
    where = f"evaluate.functions: {reference}"
    function = function_of(reference, folder, allow_code, where, METRIC)
    return Metric(
        name=reference.rpartition(":")[2],
        tasks=(task,),
        greater_is_better=True,
        words=f"your own function {reference}",
        source=reference,
        compute=lambda sample: _values(function, reference, sample),
    )


def _call(function: Callable[..., Any], reference: str, predictions: Predictions) -> float:
    where = f"evaluate.functions: {reference}"
    try:
        value = function(predictions.targets.copy(), predictions.decisions.copy(), predictions.scores.copy())
    except Exception as error:
        raise RecipeError(
            f"the metric '{reference}' failed: {type(error).__name__}: {error}",
            where=where,
            fix="it is called as function(targets, decisions, scores) with numpy arrays",
        ) from error
    try:
        number = float(value)
    except (TypeError, ValueError):
        number = math.nan
    if not math.isfinite(number):
        raise RecipeError(
            f"the metric '{reference}' must return a finite number, got {value!r}"[:300],
            where=where,
            fix="return one float; decide in the function what to return where the metric is undefined",
        )
    return number


def _values(function: Callable[..., Any], reference: str, sample: Sample) -> np.ndarray:
    """The function's value on every weighting. On the rows themselves it must be a finite number; on a resample that
    it cannot judge (say, of one class only) the value is undefined."""
    values = np.full(sample.weights_nR.shape[1], np.nan)
    numbers = np.arange(sample.weights_nR.shape[0])
    for column, weights in enumerate(sample.weights_nR.T):
        if (weights == 1).all():
            values[column] = _call(function, reference, sample.predictions)
            continue
        try:
            values[column] = _call(
                function, reference, rows_of(sample.predictions, numbers.repeat(weights.astype(int)))
            )
        except RecipeError:
            continue
    return values


def rows_of(predictions: Predictions, index: np.ndarray) -> Predictions:
    """The predictions of some rows, in the order given; a row may come more than once."""
    return predictions.only(index)
