"""The metrics of regression: each takes a Sample and gives (R,).

R2 and the correlations are nan where the values they divide by do not vary (scikit-learn's R2 says 0 or 1 there).
"""

from __future__ import annotations

import numpy as np

from tunewise.evaluate.sample import Sample
from tunewise.evaluate.weighted import group_sums


def mean_squared_error(sample: Sample) -> np.ndarray:
    return sample.mean((sample.predictions.scores - sample.predictions.targets) ** 2)


def mean_absolute_error(sample: Sample) -> np.ndarray:
    return sample.mean(np.abs(sample.predictions.scores - sample.predictions.targets))


def root_mean_squared_error(sample: Sample) -> np.ndarray:
    return np.sqrt(mean_squared_error(sample))


def r2(sample: Sample) -> np.ndarray:
    """1 - (sum of squared errors) / (sum of squared distances of the targets from their mean)."""
    targets = _column(sample.predictions.targets)
    around = _weighted_sum((targets - _centre(targets, sample)) ** 2, sample) / sample.total_R
    explained = 1 - mean_squared_error(sample) / np.where(around > 0, around, np.nan)
    return np.where(_constant(targets, sample), np.nan, explained)


def pearson(sample: Sample) -> np.ndarray:
    return _correlation(_column(sample.predictions.targets), _column(sample.predictions.scores), sample)


def spearman(sample: Sample) -> np.ndarray:
    """Pearson's correlation of the ranks; ranks are those of the resample itself, ties share the middle one."""
    return _correlation(_ranks(sample.predictions.targets, sample), _ranks(sample.predictions.scores, sample), sample)


def _column(values: np.ndarray) -> np.ndarray:
    return values.astype(np.float64)[:, None]


def _weighted_sum(values: np.ndarray, sample: Sample) -> np.ndarray:
    """Sum over rows of (n, 1) or (n, R) values: (R,)."""
    return np.einsum("nR,nR->R", np.broadcast_to(values, sample.weights_nR.shape), sample.weights_nR)


def _centre(values: np.ndarray, sample: Sample) -> np.ndarray:
    return _weighted_sum(values, sample) / sample.total_R


def _constant(values: np.ndarray, sample: Sample) -> np.ndarray:
    """Whether all rows with weight have one value: exact, where a variance would leave 1e-33 of rounding."""
    present = sample.weights_nR > 0
    return np.where(present, values, -np.inf).max(axis=0) <= np.where(present, values, np.inf).min(axis=0)


def _correlation(first: np.ndarray, second: np.ndarray, sample: Sample) -> np.ndarray:
    x, y = first - _centre(first, sample), second - _centre(second, sample)
    scale = np.sqrt(_weighted_sum(x * x, sample)) * np.sqrt(_weighted_sum(y * y, sample))
    defined = (scale > 0) & ~_constant(first, sample) & ~_constant(second, sample)
    result = np.full(scale.shape, np.nan)
    np.divide(_weighted_sum(x * y, sample), scale, out=result, where=defined)
    return np.clip(result, -1, 1)


def _ranks(values: np.ndarray, sample: Sample) -> np.ndarray:
    """The middle rank of each row among the rows of each resample, up to a constant: (n, R)."""
    levels, level_of_row = np.unique(values, return_inverse=True)
    level_weights = group_sums(level_of_row, len(levels), sample.weights_nR)
    middles = np.cumsum(level_weights, axis=0) - level_weights / 2
    return middles[level_of_row]
