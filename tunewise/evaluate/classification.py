"""The metrics of classification and multi-label tasks: each takes a Sample and gives (R,).

Definitions are scikit-learn's with `zero_division=0`. Macro averages run over the classes that occur in targets or
decisions (of the resample at hand); scikit-learn does so for classes, and here it holds for labels too, so that a rare
label which a resample happens to miss does not count as a label with F1 = 0. ROC-AUC and average precision are averaged
over the classes for which they are defined.
"""

from __future__ import annotations

from collections.abc import Callable
from typing import Literal

import numpy as np

from tunewise.evaluate.sample import Counts, Sample
from tunewise.evaluate.weighted import mean_of_defined, ratio

Part = Literal["precision", "recall", "f1"]
Average = Literal["micro", "macro", "weighted"]

CALIBRATION_BINS = 15
_SMALLEST = float(np.finfo(np.float64).eps)


def accuracy(sample: Sample) -> np.ndarray:
    right = sample.predictions.decisions == sample.predictions.targets
    return sample.mean(right.all(axis=1) if sample.multilabel else right)


def balanced_accuracy(sample: Sample) -> np.ndarray:
    counts = sample.counts
    seen = (counts.support > 0).sum(axis=0)
    return ratio(ratio(counts.hits, counts.support).sum(axis=0), seen)


def averaged(part: Part, average: Average) -> Callable[[Sample], np.ndarray]:
    """The metric that averages precision, recall or F1 over classes."""

    def metric(sample: Sample) -> np.ndarray:
        counts = sample.counts
        if average == "micro":
            return _part(part, Counts(counts.hits.sum(0), counts.predicted.sum(0), counts.support.sum(0)))
        weights = counts.support if average == "weighted" else (counts.support + counts.predicted > 0).astype(float)
        return ratio((_part(part, counts) * weights).sum(axis=0), weights.sum(axis=0))

    return metric


def of_positive(part: Part) -> Callable[[Sample], np.ndarray]:
    """The metric that looks at the positive class of two."""

    def metric(sample: Sample) -> np.ndarray:
        counts, row = sample.counts, sample.positive
        return _part(part, Counts(counts.hits[row], counts.predicted[row], counts.support[row]))

    return metric


def _part(part: Part, counts: Counts) -> np.ndarray:
    if part == "precision":
        return ratio(counts.hits, counts.predicted)
    if part == "recall":
        return ratio(counts.hits, counts.support)
    return ratio(2 * counts.hits, counts.predicted + counts.support)


def f1_samples(sample: Sample) -> np.ndarray:
    given, said = sample.predictions.targets, sample.predictions.decisions
    return sample.mean(ratio(2.0 * (given * said).sum(axis=1), given.sum(axis=1) + said.sum(axis=1)))


def hamming_loss(sample: Sample) -> np.ndarray:
    return sample.mean((sample.predictions.decisions != sample.predictions.targets).mean(axis=1))


def roc_auc(sample: Sample) -> np.ndarray:
    return mean_of_defined(sample.rankings[0])


def average_precision(sample: Sample) -> np.ndarray:
    return mean_of_defined(sample.rankings[1])


def matthews(sample: Sample) -> np.ndarray:
    """R_K of Gorodkin (2004): the correlation of two class assignments; 0 where either is constant."""
    counts, total = sample.counts, sample.total_R
    together = counts.hits.sum(axis=0) * total - (counts.predicted * counts.support).sum(axis=0)
    said = total**2 - (counts.predicted**2).sum(axis=0)
    given = total**2 - (counts.support**2).sum(axis=0)
    return ratio(together, np.sqrt(np.maximum(said * given, 0)))


def log_loss(sample: Sample) -> np.ndarray:
    """-ln of the probability given to what is true, at least 2.2e-16 as in scikit-learn; mean over labels too."""
    scores, targets = sample.predictions.scores, sample.predictions.targets
    if sample.multilabel:
        given = np.where(targets > 0.5, scores, 1 - scores)
        return sample.mean(-np.log(np.clip(given, _SMALLEST, 1)).mean(axis=1))
    given = scores[np.arange(len(targets)), targets]
    return sample.mean(-np.log(np.clip(given, _SMALLEST, 1)))


def expected_calibration_error(sample: Sample) -> np.ndarray:
    """sum over bins of (share of rows in it) x |share right - mean confidence|, 15 bins (a, b] of equal width.

    Confidence is the top probability, and right means that the most probable class is the true one, whatever threshold
    decides. Multi-label: over all label decisions, with confidence max(p, 1 - p).
    """
    scores, targets = sample.predictions.scores, sample.predictions.targets
    if sample.multilabel:
        confidence = np.maximum(scores, 1 - scores)
        right = (scores >= 0.5) == (targets > 0.5)
    else:
        confidence = scores.max(axis=1, keepdims=True)
        right = (scores.argmax(axis=1) == targets)[:, None]
    bins = np.clip(np.ceil(confidence * CALIBRATION_BINS).astype(int) - 1, 0, CALIBRATION_BINS - 1)
    gaps = np.zeros((len(scores), CALIBRATION_BINS))
    np.add.at(gaps, (np.arange(len(scores))[:, None], bins), right - confidence)
    off = np.abs(gaps.T @ sample.weights_nR).sum(axis=0)
    with np.errstate(invalid="ignore", divide="ignore"):
        return off / (sample.total_R * confidence.shape[1])


def mean_cost(costs: np.ndarray) -> Callable[[Sample], np.ndarray]:
    """The metric `cost`: the mean of costs[true class, predicted class] (C, C)."""

    def metric(sample: Sample) -> np.ndarray:
        return sample.mean(costs[sample.predictions.targets, sample.predictions.decisions])

    return metric
