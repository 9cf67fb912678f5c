"""Metrics of rows that several models have predicted, each those of its own fold.

Decisions, probabilities of single rows and numbers are taken together over all rows. Metrics that rank rows by their
score would compare the scores of different models, which may differ in scale: they are computed in each fold, and
averaged. Forman and Scholz (2010), Apples-to-apples in cross-validation studies.
"""

from __future__ import annotations

from collections.abc import Callable, Sequence
from copy import copy
from dataclasses import replace

import numpy as np

from tunewise.evaluate.evaluator import Evaluator
from tunewise.evaluate.sample import Sample
from tunewise.evaluate.weighted import mean_of_defined

RANKING = ("roc_auc", "average_precision")
"""The metrics that are averaged over folds."""


def by_fold(evaluator: Evaluator, fold_of_row: np.ndarray) -> Evaluator:
    """The same metrics, those of `RANKING` as the mean over the folds in which they are defined.

    Args:
        fold_of_row: int64 (n,), of the rows of the predictions that will be scored.
    """
    rows_of = [np.flatnonzero(fold_of_row == fold) for fold in np.unique(fold_of_row)]
    found = copy(evaluator)
    found.metrics = {
        name: replace(metric, compute=_averaged(metric.compute, rows_of)) if name in RANKING else metric
        for name, metric in evaluator.metrics.items()
    }
    return found


def _averaged(compute: Callable[[Sample], np.ndarray], rows_of: Sequence[np.ndarray]) -> Callable[[Sample], np.ndarray]:
    def metric(sample: Sample) -> np.ndarray:
        parts = [
            Sample(sample.predictions.only(rows), sample.weights_nR[rows], sample.positive, sample.labels)
            for rows in rows_of
        ]
        return mean_of_defined(np.stack([compute(part) for part in parts]))

    return metric
