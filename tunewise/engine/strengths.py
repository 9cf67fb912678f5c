"""Which strengths of regularisation the `features` solver tries, and which of them it takes.

A metric on few validation rows tells little of strengths: a row or two more that are right by luck, and a head is taken
that knows much less. So the metric decides where it can tell; among strengths that it cannot tell from the best, the
loss on validation does, which also sees how sure a head is of each row.

Shape legend: N rows, W most words in a row, C outputs, R resamples, F width of the features.
"""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass

import numpy as np

from tunewise.evaluate.decide import to_predictions
from tunewise.evaluate.evaluator import Evaluator
from tunewise.evaluate.intervals import resamples
from tunewise.types import Split

# For features whose rows are 1 away from their mean (root of the mean square): embeddings of length 1 come near it by
# themselves. The best C was 3 to 30 (customer messages, emotion, banking77) or 30 to 100 (sms-spam, photographs of ants
# and bees), the best alpha of ridge 3 (stsb). Usual strengths first: of equals, the first is taken.
GRIDS = {
    "logistic": (10.0, 3.0, 30.0, 1.0, 100.0, 0.1, 1000.0),
    "ridge": (3.0, 1.0, 10.0, 0.3, 30.0, 0.1, 100.0, 0.01),
    "mlp": (1e-4, 1e-2),
}

RESAMPLES = 200
SURE = 1.5  # standard errors of the difference from the best: that of two rows in which two heads differ is 1.4
DIGITS = 3
ROWS_AT_ONCE = 10_000


def strengths_to_try(kind: str, features_NF: np.ndarray) -> tuple[float, ...]:
    """The grid, in the unit of these features: scaling them by s is the same as scaling C by 1/s^2, or alpha by s^2."""
    if kind == "mlp":
        return GRIDS[kind]
    square = _variance(features_NF) or 1.0
    scale = square if kind == "ridge" else 1.0 / square
    return tuple(float(f"{strength * scale:.{DIGITS}g}") for strength in GRIDS[kind])


def _variance(features_NF: np.ndarray) -> float:
    """The sum over the features; in float64, but without a copy of all rows in it."""
    mean_F, total = features_NF.mean(axis=0, dtype=np.float64), 0.0
    for start in range(0, len(features_NF), ROWS_AT_ONCE):
        total += float(np.square(features_NF[start : start + ROWS_AT_ONCE] - mean_F).sum())
    return total / len(features_NF)


@dataclass(frozen=True)
class Judged:
    """What a head is worth on validation: the metric, higher being better, the same on resamples of the rows (R,), and
    the loss."""

    value: float
    resampled_R: np.ndarray
    loss: float


class Judge:
    """Judges outputs on validation; every head on the same resamples of the rows.

    Args:
        weights: of the classes, (C,): what training gives them, the loss here does too.
    """

    def __init__(self, split: Split, evaluator: Evaluator, metric: str, weights: np.ndarray | None = None):
        self.split, self.evaluator, self.metric, self.weights = split, evaluator, metric, weights
        self.sign = 1.0 if evaluator.greater_is_better(metric) else -1.0

    def __call__(self, logits: np.ndarray) -> Judged:
        """Of outputs (N, C), or (N, W, C) for words."""
        predictions = to_predictions(logits, self.split, self.evaluator)
        drawn = resamples(len(self.split.targets), RESAMPLES, np.random.default_rng(0))
        values = [self.evaluator.values(self.metric, predictions, rows_RN) for rows_RN in drawn]
        loss = mean_loss(self.evaluator.schema.task, logits, self.split.targets, self.weights)
        value = self.evaluator.score_one(self.metric, predictions)
        return Judged(self.sign * value, self.sign * np.concatenate(values), loss)


def best_strength(judged: Mapping[float, Judged]) -> float:
    """Of the strengths whose metric is not surely below the best, that of the least loss; of equals, the first.

    Sure is more than one and a half standard errors of the difference, by resamples of the rows, which are the same for
    all. A metric that is undefined is worst; where it is for all, the loss alone decides."""
    best = max(judged.values(), key=lambda each: each.value if np.isfinite(each.value) else -np.inf)
    near = [strength for strength, each in judged.items() if _is_near(each, best)] or list(judged)
    return min(near, key=lambda strength: judged[strength].loss if np.isfinite(judged[strength].loss) else np.inf)


def _is_near(each: Judged, best: Judged) -> bool:
    difference_R = best.resampled_R - each.resampled_R
    difference_R = difference_R[np.isfinite(difference_R)]
    error = float(difference_R.std()) if len(difference_R) else 0.0
    return bool(best.value - each.value <= SURE * error)


def mean_loss(task: str, logits: np.ndarray, targets: np.ndarray, weights: np.ndarray | None = None) -> float:
    """Cross-entropy (of each word, for words), binary cross-entropy of labels, or squared error; weighted as the
    objectives do.

    Args:
        logits: (N, C), or (N, W, C) for words, which places without a word (targets below 0) have no part in.
    """
    from scipy.special import log_softmax

    if task == "regression":
        return float(np.square(logits[:, 0] - targets).mean())
    if task == "multilabel":
        each_NC = np.logaddexp(0.0, logits) - targets * logits
        return float((each_NC if weights is None else each_NC * weights).mean())
    known = targets >= 0
    classes_K = targets[known]
    each_K = -log_softmax(logits[known], axis=1)[np.arange(len(classes_K)), classes_K]
    weights_K = np.ones(len(classes_K)) if weights is None else weights[classes_K]
    return float((each_K * weights_K).sum() / weights_K.sum()) if weights_K.any() else float("nan")
