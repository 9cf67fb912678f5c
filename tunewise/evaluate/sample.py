"""Predictions seen through many weightings of their rows at once: what every metric is computed from.

A bootstrap resample is a weight per row (how often it was drawn), so a metric over R resamples is a handful of sums
over an (n, R) matrix instead of R passes. Shapes: n rows, C labels, R weightings; suffixes name the axes.
"""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass
from functools import cached_property

import numpy as np

from tunewise.evaluate.ranking import rank_quality
from tunewise.evaluate.weighted import group_sums
from tunewise.types import Predictions, Task


@dataclass(frozen=True, eq=False)
class Counts:
    """Weighted counts per class or label, each (C, R): right ones, predicted ones, true ones."""

    hits: np.ndarray
    predicted: np.ndarray
    support: np.ndarray


@dataclass(frozen=True, eq=False)
class Sample:
    """Predictions with R weightings of their rows.

    `weights_nR` is float64 (n, R): a row with weight 2 counts as if it stood there twice, one with 0 as if it were
    absent. `positive` is the index of the class that a binary metric looks for, None where there are not two classes.
    `labels` are the names of the outputs.
    """

    predictions: Predictions
    weights_nR: np.ndarray
    positive: int | None = None
    labels: tuple[str, ...] = ()

    @property
    def multilabel(self) -> bool:
        return self.predictions.decisions.ndim == 2

    @cached_property
    def total_R(self) -> np.ndarray:
        return self.weights_nR.sum(axis=0)

    def mean(self, values: np.ndarray) -> np.ndarray:
        """The weighted mean of one value per row (n,), as (R,); nan where nothing has weight."""
        with np.errstate(invalid="ignore", divide="ignore"):
            return values.astype(np.float64) @ self.weights_nR / self.total_R

    @cached_property
    def counts(self) -> Counts:
        """Hits, predictions and support of every class."""
        given, said = self.predictions.targets, self.predictions.decisions
        if self.multilabel:
            given, said = given.astype(np.float64), said.astype(np.float64)
            return Counts(*(marks.T @ self.weights_nR for marks in (given * said, said, given)))
        classes = self.predictions.scores.shape[1]
        cells, cell_of_row = np.unique(given * classes + said, return_inverse=True)
        sums = group_sums(cell_of_row, len(cells), self.weights_nR)
        given, said = np.divmod(cells, classes)
        right = given == said
        hits = np.zeros((classes, sums.shape[1]))
        hits[given[right]] = sums[right]
        return Counts(hits, group_sums(said, classes, sums), group_sums(given, classes, sums))

    @cached_property
    def rankings(self) -> tuple[np.ndarray, np.ndarray]:
        """ROC-AUC and average precision, each (classes looked at, R): of the positive class where there are two
        classes, else of each class against the rest, or each label."""
        scores, targets = self.predictions.scores, self.predictions.targets
        if self.multilabel:
            columns = [(scores[:, label], targets[:, label] > 0.5) for label in range(scores.shape[1])]
        else:
            looked_at = range(scores.shape[1]) if self.positive is None else (self.positive,)
            columns = [(scores[:, label], targets == label) for label in looked_at]
        areas, precisions = zip(*(rank_quality(*column, self.weights_nR) for column in columns), strict=True)
        return np.stack(areas), np.stack(precisions)


def confusion_matrix(predictions: Predictions) -> np.ndarray:
    """How often class i (row) was called class j (column): int64 (C, C), for classification."""
    classes = predictions.scores.shape[1]
    cells = predictions.targets * classes + predictions.decisions
    return np.bincount(cells, minlength=classes * classes).reshape(classes, classes)


def confusion_by_split(predictions: Mapping[str, Predictions], task: Task) -> dict[str, list[list[int]]]:
    """The confusion matrix of each split as plain lists; nothing for tasks other than classification."""
    if task != "classification":
        return {}
    return {name: confusion_matrix(said).tolist() for name, said in predictions.items()}
