"""From scores to decisions, and the threshold that validation rows ask for."""

from __future__ import annotations

from dataclasses import replace

import numpy as np

from tunewise.evaluate.evaluator import Evaluator
from tunewise.evaluate.scores import to_scores
from tunewise.types import Predictions, Schema, Split

# Thresholds tried at most; beyond it they are taken evenly from the distinct scores.
MAX_THRESHOLDS = 500


def decide(
    scores: np.ndarray, schema: Schema, threshold: float | None = None, positive: str | None = None
) -> np.ndarray:
    """What the scores amount to.

    Classification: the most probable class; with a threshold (two classes only) the positive class where its
    probability reaches it. Multi-label: each label that reaches the threshold, 0.5 where none is given. Regression:
    the values. Token classification: the most probable tag of each word.

    Args:
        scores: probabilities (n, C) or (n, W, C), or values (n,).
        positive: the class the threshold is about; the second in order where left out.

    Returns:
        int64 (n,), int64 0/1 (n, C), the values, or int64 (n, W), -1 where a row has no such word.
    """
    if schema.task == "regression" or schema.gives_numbers:
        return scores
    if schema.task == "multilabel":
        return (scores >= (0.5 if threshold is None else threshold)).astype(np.int64)
    if schema.task == "token_classification":
        return np.where(np.isnan(scores).any(axis=2), -1, scores.argmax(axis=2)).astype(np.int64)
    if threshold is None:
        return scores.argmax(axis=1).astype(np.int64)
    wanted = 1 if positive is None else schema.labels.index(positive)
    return np.where(scores[:, wanted] >= threshold, wanted, 1 - wanted).astype(np.int64)


def to_predictions(
    logits_NC: np.ndarray, split: Split, evaluator: Evaluator, threshold: float | None = None
) -> Predictions:
    """Outputs in the unit of the targets -> scores and decisions."""
    scores = to_scores(evaluator.schema.task, logits_NC)
    decisions = decide(scores, evaluator.schema, threshold, evaluator.config.positive)
    return Predictions(scores, decisions, split.targets, split.rows)


def choose_threshold(metric: str, predictions: Predictions, evaluator: Evaluator) -> float:
    """The threshold with the best value of the metric on these (validation) predictions.

    Two classes: on the positive class's probability; multi-label: one for all labels. Tried are 0.5 and the middles
    between neighbouring distinct scores, where rounding of a score cannot change a decision; of equals the one nearest
    to 0.5 is taken.
    """
    schema, positive = evaluator.schema, evaluator.config.positive
    sign = 1 if evaluator.greater_is_better(metric) else -1
    column = predictions.scores if schema.task == "multilabel" else predictions.scores[:, evaluator.positive]

    def merit(threshold: float) -> tuple[float, float]:
        decided = replace(predictions, decisions=decide(predictions.scores, schema, threshold, positive))
        value = sign * evaluator.score_one(metric, decided)
        return (value if np.isfinite(value) else -np.inf), -abs(threshold - 0.5)

    return max(_candidates(column), key=merit)


def _candidates(scores: np.ndarray) -> list[float]:
    edges = np.unique(np.concatenate([[0.0, 1.0], scores.ravel()]))
    middles = (edges[1:] + edges[:-1]) / 2
    if len(middles) > MAX_THRESHOLDS:
        middles = middles[np.linspace(0, len(middles) - 1, MAX_THRESHOLDS).round().astype(int)]
    return [0.5, *middles.tolist()]
