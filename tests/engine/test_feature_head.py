"""Heads on features give what scikit-learn gives."""

from __future__ import annotations

import numpy as np
import pytest
from sklearn.linear_model import LogisticRegression, Ridge, RidgeClassifier
from sklearn.neural_network import MLPClassifier, MLPRegressor

from tunewise.engine.feature_head import fit_head
from tunewise.evaluate.scores import to_scores
from tunewise.types import Schema

pytestmark = pytest.mark.filterwarnings("ignore::sklearn.exceptions.ConvergenceWarning")
RNG = np.random.default_rng(0)
ROWS, WIDTH = 90, 6
FEATURES = RNG.normal(size=(ROWS, WIDTH)).astype(np.float32)
CLASSES = np.argmax(FEATURES[:, :4] + RNG.normal(size=(ROWS, 4)), axis=1)
MARKS = (FEATURES[:, :3] + RNG.normal(size=(ROWS, 3)) > 0).astype(np.float32)
NUMBERS = (100 + 40 * FEATURES[:, 0] + RNG.normal(size=ROWS)).astype(np.float32)


def schema(task: str, count: int = 0) -> Schema:
    return Schema(task, ("text",), "label", tuple("abcdefgh"[:count]))


def scores(kind: str, task: str, count: int, targets: np.ndarray, strength: float, weights: np.ndarray | None = None):
    head = fit_head(kind, schema(task, count), FEATURES, targets, strength, 0, weights)
    return to_scores(task, head.logits(FEATURES))


@pytest.mark.parametrize("weights", [None, np.array([1.0, 3.0, 0.5, 2.0])])
@pytest.mark.parametrize("strength", [0.1, 10.0])
def test_logistic_regression(strength: float, weights: np.ndarray | None) -> None:
    ours = scores("logistic", "classification", 4, CLASSES, strength, weights)
    weighted = None if weights is None else dict(enumerate(weights))
    theirs = LogisticRegression(C=strength, class_weight=weighted, max_iter=1000).fit(FEATURES, CLASSES)
    np.testing.assert_allclose(ours, theirs.predict_proba(FEATURES), atol=1e-5)


@pytest.mark.parametrize("kind", ["logistic", "mlp"])
def test_two_classes(kind: str) -> None:
    targets = (CLASSES > 1).astype(np.int64)
    ours = scores(kind, "classification", 2, targets, 0.5)
    peer = (
        LogisticRegression(C=0.5, max_iter=1000)
        if kind == "logistic"
        else MLPClassifier((128,), alpha=0.5, random_state=0, max_iter=300)
    )
    np.testing.assert_allclose(ours, peer.fit(FEATURES, targets).predict_proba(FEATURES), atol=1e-5)


def test_logistic_regression_per_label() -> None:
    marks = np.concatenate([MARKS, np.ones((ROWS, 1)), np.zeros((ROWS, 1))], axis=1).astype(np.float32)
    weights = np.array([1.0, 4.0, 0.5, 1.0, 1.0])
    ours = scores("logistic", "multilabel", 5, marks, 2.0, weights)
    for label in range(3):
        theirs = LogisticRegression(C=2.0 * weights[label], max_iter=1000).fit(FEATURES, marks[:, label])
        np.testing.assert_allclose(ours[:, label], theirs.predict_proba(FEATURES)[:, 1], atol=1e-5)
    assert (ours[:, 3] > 1 - 1e-8).all() and (ours[:, 4] < 1e-8).all()


@pytest.mark.parametrize("weights", [None, np.array([1.0, 3.0, 0.5, 2.0])])
def test_ridge_decides_as_ridge_classifier(weights: np.ndarray | None) -> None:
    ours = scores("ridge", "classification", 4, CLASSES, 1.5, weights)
    sample = None if weights is None else weights[CLASSES]
    theirs = RidgeClassifier(alpha=1.5).fit(FEATURES, CLASSES, sample_weight=sample)
    np.testing.assert_array_equal(ours.argmax(axis=1), theirs.predict(FEATURES))
    odds = np.log(ours) - np.log(ours[:, :1])
    values = theirs.decision_function(FEATURES)
    np.testing.assert_allclose(odds, 4 * (values - values[:, :1]), atol=1e-4)


def test_ridge_for_numbers_and_labels() -> None:
    theirs = Ridge(alpha=0.3).fit(FEATURES, NUMBERS)
    np.testing.assert_allclose(scores("ridge", "regression", 0, NUMBERS, 0.3), theirs.predict(FEATURES), rtol=1e-5)
    ours = scores("ridge", "multilabel", 3, MARKS, 0.3)
    values = Ridge(alpha=0.3).fit(FEATURES, 2 * MARKS - 1).predict(FEATURES)
    np.testing.assert_array_equal(ours > 0.5, values > 0)
    weights = np.array([1.0, 5.0, 0.2])
    ours = np.log(1 / scores("ridge", "multilabel", 3, MARKS, 30.0, weights) - 1) / -4
    for label in range(3):
        theirs = Ridge(alpha=30.0).fit(FEATURES, 2 * MARKS[:, label] - 1, np.full(ROWS, weights[label]))
        np.testing.assert_allclose(ours[:, label], theirs.predict(FEATURES), atol=1e-5)


def test_mlp_for_classes_labels_and_numbers() -> None:
    options = {"hidden_layer_sizes": (128,), "alpha": 1e-3, "random_state": 0, "max_iter": 300}
    ours = scores("mlp", "classification", 4, CLASSES, 1e-3)
    np.testing.assert_allclose(ours, MLPClassifier(**options).fit(FEATURES, CLASSES).predict_proba(FEATURES), atol=1e-5)
    ours = scores("mlp", "multilabel", 3, MARKS, 1e-3)
    np.testing.assert_allclose(ours, MLPClassifier(**options).fit(FEATURES, MARKS).predict_proba(FEATURES), atol=1e-5)
    standard = (NUMBERS - NUMBERS.mean()) / NUMBERS.std()
    theirs = MLPRegressor(**options).fit(FEATURES, standard).predict(FEATURES) * NUMBERS.std() + NUMBERS.mean()
    np.testing.assert_allclose(scores("mlp", "regression", 0, NUMBERS, 1e-3), theirs, rtol=1e-4)


def test_mlp_heeds_class_weights() -> None:
    weights = np.array([1.0, 50.0, 1.0, 1.0])
    plain = scores("mlp", "classification", 4, CLASSES, 1.0)
    heavy = scores("mlp", "classification", 4, CLASSES, 1.0, weights)
    assert heavy[:, 1].mean() > plain[:, 1].mean() + 0.05


@pytest.mark.parametrize("kind", ["logistic", "ridge", "mlp"])
@pytest.mark.parametrize("present", [(0, 2, 3), (1, 3)])
def test_a_class_without_rows_is_never_predicted(kind: str, present: tuple[int, ...]) -> None:
    """`data.labels` may name classes that the training rows do not have."""
    kept = np.isin(CLASSES, present)
    head = fit_head(kind, schema("classification", 5), FEATURES[kept], CLASSES[kept], 1.0, 0, None)
    ours = to_scores("classification", head.logits(FEATURES))
    assert ours.shape == (ROWS, 5)
    assert set(ours.argmax(axis=1)) <= set(present)
    if kind == "logistic":
        theirs = LogisticRegression(C=1.0, max_iter=1000).fit(FEATURES[kept], CLASSES[kept])
        np.testing.assert_allclose(ours[:, list(present)], theirs.predict_proba(FEATURES), atol=1e-5)


@pytest.mark.parametrize("rare", [1, 2])
def test_mlp_with_rare_classes(rare: int) -> None:
    """scikit-learn's early stopping wants two rows of each class."""
    features = RNG.normal(size=(220, WIDTH)).astype(np.float32)
    targets = np.array([2] * rare + [0, 1] * 110)[:220]
    head = fit_head("mlp", schema("classification", 3), features, targets, 1.0, 0, None)
    assert head.logits(features).shape == (220, 3)


def test_mlp_with_more_classes_than_a_tenth_of_the_rows() -> None:
    features = RNG.normal(size=(220, WIDTH)).astype(np.float32)
    targets = np.arange(220) % 30
    labels = Schema("classification", ("text",), "label", tuple(map(str, range(30))))
    assert fit_head("mlp", labels, features, targets, 1.0, 0, None).logits(features).shape == (220, 30)


def test_size_counts_weights_and_biases() -> None:
    assert fit_head("ridge", schema("classification", 4), FEATURES, CLASSES, 1.0, 0, None).size == WIDTH * 4 + 4
    assert fit_head("mlp", schema("regression"), FEATURES, NUMBERS, 1.0, 0, None).size == WIDTH * 128 + 128 + 128 + 1
