"""The head of the `features` method: logistic regression, ridge or a small MLP, as dense layers.

Shape legend: N rows, F width of the features, C outputs.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass

import numpy as np

from tunewise.types import Schema

HIDDEN = 128
ABSENT = -20.0  # output of a label or class that no training row has: a probability of 2e-9
ROWS_FOR_EARLY_STOPPING = 200
ROWS_AT_ONCE = 10_000


@dataclass(frozen=True, eq=False)
class FeatureHead:
    """Dense layers on features, ReLU between them: [(weight (F, C), bias (C,)), ...], float32."""

    layers: tuple[tuple[np.ndarray, np.ndarray], ...]

    def logits(self, features_NF: np.ndarray) -> np.ndarray:
        """Outputs (N, C), float64."""
        starts = range(0, max(1, len(features_NF)), ROWS_AT_ONCE)
        return np.concatenate([self._logits(features_NF[start : start + ROWS_AT_ONCE]) for start in starts])

    def _logits(self, features_NF: np.ndarray) -> np.ndarray:
        out = features_NF.astype(np.float64)
        for number, (weight, bias) in enumerate(self.layers):
            out = out @ weight + bias
            if number < len(self.layers) - 1:
                out = np.maximum(out, 0.0)
        return out

    @property
    def size(self) -> int:
        return sum(weight.size + bias.size for weight, bias in self.layers)


def fit_head(
    kind: str,
    schema: Schema,
    features_NF: np.ndarray,
    targets: np.ndarray,
    strength: float,
    seed: int,
    weights: np.ndarray | None,
) -> FeatureHead:
    """Fits a head.

    Args:
        kind: logistic (not for regression), ridge or mlp.
        targets: as in `types.Split`.
        strength: the C of logistic regression, the alpha of ridge and MLP.
        weights: of the classes, (C,).
    """
    if kind == "mlp":
        return _fit_mlp(schema, features_NF, targets, strength, seed, weights)
    if kind == "ridge":
        return _fit_ridge(schema, features_NF, targets, strength, weights)
    if schema.task == "multilabel":
        return _fit_labels(features_NF, targets, strength, weights)
    from sklearn.linear_model import LogisticRegression

    class_weight = None if weights is None else dict(enumerate(weights))
    model = LogisticRegression(C=strength, max_iter=1000, class_weight=class_weight).fit(features_NF, targets)
    return _head([_per_class(model.coef_.T, model.intercept_, model.classes_, schema.outputs)])


def _fit_labels(
    features_NF: np.ndarray, targets: np.ndarray, strength: float, weights: np.ndarray | None
) -> FeatureHead:
    """A logistic regression per label. Its weight multiplies its whole loss, which is what C does."""
    from sklearn.linear_model import LogisticRegression

    weight_FC, bias_C = np.zeros((features_NF.shape[1], targets.shape[1])), np.zeros(targets.shape[1])
    for label, marks in enumerate(targets.T):
        scale = 1.0 if weights is None else weights[label]
        if len(set(marks)) == 1:
            bias_C[label] = -ABSENT if marks[0] else ABSENT
        elif scale:
            model = LogisticRegression(C=strength * scale, max_iter=1000).fit(features_NF, marks)
            weight_FC[:, label], bias_C[label] = model.coef_[0], model.intercept_[0]
    return _head([(weight_FC, bias_C)])


def _fit_ridge(
    schema: Schema, features_NF: np.ndarray, targets: np.ndarray, strength: float, weights: np.ndarray | None
) -> FeatureHead:
    """Least squares with an L2 penalty; classes as -1 and 1, scaled so that a softmax or sigmoid over them is sharp."""
    from sklearn.linear_model import Ridge

    sample_weight, alpha = None, strength
    if schema.task == "classification":
        sample_weight = None if weights is None else weights[targets]
        targets = 2.0 * np.eye(schema.outputs)[targets] - 1.0
    elif schema.task == "multilabel":
        targets = 2.0 * targets - 1.0
        if weights is not None:  # a label without rows has weight 0, and its output is constant anyway
            alpha = strength / np.where(weights > 0, weights, 1.0)
    model = Ridge(alpha=alpha).fit(features_NF, targets, sample_weight=sample_weight)
    weight_FC = np.atleast_2d(model.coef_).T
    scale = 1.0 if schema.task == "regression" else 4.0
    return _head([(scale * weight_FC, scale * np.atleast_1d(model.intercept_))])


def _fit_mlp(
    schema: Schema, features_NF: np.ndarray, targets: np.ndarray, strength: float, seed: int, weights: np.ndarray | None
) -> FeatureHead:
    from sklearn.neural_network import MLPClassifier, MLPRegressor

    options = {
        "hidden_layer_sizes": (HIDDEN,),
        "alpha": strength,
        "random_state": seed,
        "max_iter": 300,
        "early_stopping": _can_stop_early(schema, targets),
    }
    if schema.task == "regression":
        mean, deviation = float(targets.mean()), float(targets.std()) or 1.0
        model = MLPRegressor(**options).fit(features_NF, (targets - mean) / deviation)
        (inner, outer), (inner_bias, outer_bias) = model.coefs_, model.intercepts_
        return _head([(inner, inner_bias), (outer * deviation, outer_bias * deviation + mean)])
    model = MLPClassifier(**options)
    if schema.task == "classification" and weights is not None:
        model.fit(features_NF, targets, sample_weight=weights[targets])
    else:
        model.fit(features_NF, targets)
    (inner, outer), (inner_bias, outer_bias) = model.coefs_, model.intercepts_
    if schema.task == "classification":
        outer, outer_bias = _per_class(outer, outer_bias, model.classes_, schema.outputs)
    return _head([(inner, inner_bias), (outer, outer_bias)])


def _can_stop_early(schema: Schema, targets: np.ndarray) -> bool:
    """Whether a tenth of the rows can be held back: scikit-learn wants one of each class there, and one left."""
    if len(targets) < ROWS_FOR_EARLY_STOPPING or schema.task != "classification":
        return len(targets) >= ROWS_FOR_EARLY_STOPPING
    counts = np.unique(targets, return_counts=True)[1]
    return bool(counts.min() >= 2 and len(targets) >= 10 * len(counts))


def _per_class(
    weight: np.ndarray, bias: np.ndarray, classes: np.ndarray, outputs: int
) -> tuple[np.ndarray, np.ndarray]:
    """A column for every class, from those that scikit-learn has found: of two classes it gives one output z, which is
    (0, z); a class without rows is never predicted."""
    if weight.shape[1] == 1:
        weight, bias = np.concatenate([np.zeros_like(weight), weight], axis=1), np.array([0.0, bias[0]])
    weight_FC, bias_C = np.zeros((len(weight), outputs)), np.full(outputs, bias.mean() + ABSENT)
    weight_FC[:, classes], bias_C[classes] = weight, bias
    return weight_FC, bias_C


def _head(layers: Sequence[tuple[np.ndarray, np.ndarray]]) -> FeatureHead:
    return FeatureHead(tuple((weight.astype(np.float32), bias.astype(np.float32)) for weight, bias in layers))
