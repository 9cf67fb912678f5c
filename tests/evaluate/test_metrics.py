"""Every metric against scikit-learn or scipy on the rows that a weighting stands for."""

from __future__ import annotations

import warnings
from pathlib import Path

import numpy as np
import pytest
import scipy.stats
from hypothesis import given, settings
from hypothesis import strategies as st
from sklearn import metrics as sk

from tunewise.evaluate.evaluator import Evaluator
from tunewise.evaluate.functions import rows_of
from tunewise.evaluate.metrics import METRICS, default_metric
from tunewise.evaluate.sample import confusion_matrix
from tunewise.evaluate.settings import EvaluateConfig
from tunewise.types import Predictions, Schema

LABELS = tuple("abcdefgh")


def evaluator(task: str, outputs: int, **options) -> Evaluator:
    schema = Schema(task, ("text",), "label", () if task == "regression" else LABELS[:outputs])
    return Evaluator(schema, EvaluateConfig(**options), Path("."))


@st.composite
def drawn(draw, task: str, outputs: int):
    """Predictions with coarse scores (many ties) and often absent classes, and three weightings of their rows."""
    rng = np.random.default_rng(draw(st.integers(0, 2**32)))
    n = draw(st.integers(2, 40))
    steps = draw(st.sampled_from([2, 5, 1000]))
    if task == "classification":
        used = draw(st.integers(1, outputs))
        scores = rng.integers(1, steps + 1, size=(n, outputs)).astype(float)
        scores /= scores.sum(axis=1, keepdims=True)
        targets = rng.integers(used, size=n)
        decisions = np.where(rng.random(n) < 0.5, targets, rng.integers(used, size=n))
    elif task == "multilabel":
        scores = rng.integers(0, steps + 1, size=(n, outputs)) / steps
        targets = (rng.random((n, outputs)) < rng.random(outputs)).astype(np.float32)
        decisions = (scores >= 0.5).astype(np.int64)
    else:
        targets = (rng.integers(steps, size=n) - steps // 2).astype(np.float32)
        scores = targets + rng.integers(steps, size=n).astype(float)
        decisions = scores
    weights = np.vstack([np.ones(n), rng.multinomial(n, np.ones(n) / n, size=2)])
    return Predictions(scores, decisions, targets, np.arange(1, n + 1)), weights


def check(name: str, evaluate: Evaluator, case, expected) -> None:
    """The metric's value on each weighting equals `expected(predictions)` on the rows repeated as often."""
    predictions, weights = case
    values = evaluate.values(name, predictions, weights)
    for value, row in zip(values, weights.astype(int), strict=True):
        rows = rows_of(predictions, np.arange(len(row)).repeat(row))
        with warnings.catch_warnings():
            warnings.simplefilter("ignore")
            wanted = expected(rows)
        np.testing.assert_allclose(value, wanted, rtol=1e-9, atol=1e-9, err_msg=name)


many = settings(max_examples=15, deadline=None, derandomize=True)
PARTS = {"precision": sk.precision_score, "recall": sk.recall_score, "f1": sk.f1_score}
AVERAGES = ("micro", "macro", "weighted")


def present(p: Predictions) -> list[int]:
    if p.targets.ndim == 1:
        return sorted({*p.targets.tolist(), *p.decisions.tolist()})
    return [label for label in range(p.targets.shape[1]) if p.targets[:, label].any() or p.decisions[:, label].any()]


def ranking(score, average_over):
    """One-vs-rest by scikit-learn, over the classes for which it is defined."""

    def value(p: Predictions) -> float:
        found = []
        for column in average_over(p):
            positive = p.targets == column if p.targets.ndim == 1 else p.targets[:, column] > 0.5
            if positive.any() and (score is sk.average_precision_score or not positive.all()):
                found.append(score(positive, p.scores[:, column]))
        return np.mean(found) if found else np.nan

    return value


def calibration_error(confidence: np.ndarray, right: np.ndarray) -> float:
    error = 0.0
    for i in range(15):
        inside = [(c, r) for c, r in zip(confidence, right, strict=True) if i / 15 < c <= (i + 1) / 15]
        if inside:
            error += abs(sum(r for _, r in inside) - sum(c for c, _ in inside)) / len(confidence)
    return error


@pytest.mark.parametrize("outputs", [2, 5])
def test_classification(outputs: int) -> None:
    evaluate = evaluator("classification", outputs)

    @many
    @given(drawn("classification", outputs))
    def compare(case) -> None:
        check("accuracy", evaluate, case, lambda p: sk.accuracy_score(p.targets, p.decisions))
        check("balanced_accuracy", evaluate, case, lambda p: sk.balanced_accuracy_score(p.targets, p.decisions))
        check("mcc", evaluate, case, lambda p: sk.matthews_corrcoef(p.targets, p.decisions))
        check("log_loss", evaluate, case, lambda p: sk.log_loss(p.targets, p.scores, labels=range(outputs)))
        check("ece", evaluate, case, lambda p: calibration_error(p.scores.max(1), p.scores.argmax(1) == p.targets))
        for part, score in PARTS.items():
            for average in AVERAGES:
                check(
                    f"{part}_{average}",
                    evaluate,
                    case,
                    lambda p, s=score, a=average: s(p.targets, p.decisions, average=a, zero_division=0),
                )
            if outputs == 2:
                check(part, evaluate, case, lambda p, s=score: s(p.targets, p.decisions, zero_division=0))
        columns = (lambda p: [1]) if outputs == 2 else (lambda p: range(outputs))
        check("roc_auc", evaluate, case, ranking(sk.roc_auc_score, columns))
        check("average_precision", evaluate, case, ranking(sk.average_precision_score, columns))

    compare()


def test_multilabel() -> None:
    evaluate = evaluator("multilabel", 3)

    @many
    @given(drawn("multilabel", 3))
    def compare(case) -> None:
        check("accuracy", evaluate, case, lambda p: sk.accuracy_score(p.targets, p.decisions))
        check("hamming_loss", evaluate, case, lambda p: sk.hamming_loss(p.targets, p.decisions))
        check(
            "f1_samples",
            evaluate,
            case,
            lambda p: sk.f1_score(p.targets, p.decisions, average="samples", zero_division=0),
        )
        for part, score in PARTS.items():
            for average in AVERAGES:
                check(
                    f"{part}_{average}",
                    evaluate,
                    case,
                    lambda p, s=score, a=average: (
                        s(p.targets, p.decisions, average=a, zero_division=0, labels=present(p)) if present(p) else 0.0
                    ),
                )
        check("roc_auc", evaluate, case, ranking(sk.roc_auc_score, lambda p: range(3)))
        check("average_precision", evaluate, case, ranking(sk.average_precision_score, lambda p: range(3)))
        check(
            "log_loss",
            evaluate,
            case,
            lambda p: np.mean([sk.log_loss(p.targets[:, c], p.scores[:, c], labels=[0, 1]) for c in range(3)]),
        )
        check(
            "ece",
            evaluate,
            case,
            lambda p: calibration_error(
                np.maximum(p.scores, 1 - p.scores).ravel(), ((p.scores >= 0.5) == p.targets).ravel()
            ),
        )

    compare()


def test_regression() -> None:
    evaluate = evaluator("regression", 1)

    def varying(score):
        def value(p: Predictions) -> float:
            return score(p) if np.ptp(p.targets) > 0 and np.ptp(p.scores) > 0 else np.nan

        return value

    @many
    @given(drawn("regression", 1))
    def compare(case) -> None:
        check("mse", evaluate, case, lambda p: sk.mean_squared_error(p.targets, p.scores))
        check("mae", evaluate, case, lambda p: sk.mean_absolute_error(p.targets, p.scores))
        check("rmse", evaluate, case, lambda p: sk.root_mean_squared_error(p.targets, p.scores))
        check("r2", evaluate, case, lambda p: sk.r2_score(p.targets, p.scores) if np.ptp(p.targets) > 0 else np.nan)
        check("pearson", evaluate, case, varying(lambda p: scipy.stats.pearsonr(p.targets, p.scores).statistic))
        check("spearman", evaluate, case, varying(lambda p: scipy.stats.spearmanr(p.targets, p.scores).statistic))

    compare()


@pytest.mark.parametrize("name", ["accuracy", "f1_macro", "recall_weighted", "roc_auc", "log_loss", "mcc"])
def test_weights_need_not_be_whole_numbers(name: str) -> None:
    rng = np.random.default_rng(1)
    targets = rng.integers(2, size=60)
    positive = np.round(rng.random(60), 1).clip(0.05, 0.95)
    scores = np.stack([1 - positive, positive], axis=1)
    predictions = Predictions(scores, scores.argmax(axis=1), targets, np.arange(60))
    weights = rng.random((1, 60))
    wanted = {
        "accuracy": sk.accuracy_score(targets, predictions.decisions, sample_weight=weights[0]),
        "f1_macro": sk.f1_score(targets, predictions.decisions, average="macro", sample_weight=weights[0]),
        "recall_weighted": sk.recall_score(
            targets, predictions.decisions, average="weighted", sample_weight=weights[0]
        ),
        "roc_auc": sk.roc_auc_score(targets, positive, sample_weight=weights[0]),
        "log_loss": sk.log_loss(targets, scores, sample_weight=weights[0]),
        "mcc": sk.matthews_corrcoef(targets, predictions.decisions, sample_weight=weights[0]),
    }
    assert evaluator("classification", 2).values(name, predictions, weights)[0] == pytest.approx(wanted[name])


def test_positive_class_can_be_the_first() -> None:
    rng = np.random.default_rng(2)
    targets, first = rng.integers(2, size=50), rng.random(50)
    scores = np.stack([first, 1 - first], axis=1)
    predictions = Predictions(scores, scores.argmax(axis=1), targets, np.arange(50))
    scored = evaluator("classification", 2, positive="a").score(predictions)
    assert scored["f1"] == pytest.approx(sk.f1_score(targets, predictions.decisions, pos_label=0))
    assert scored["average_precision"] == pytest.approx(sk.average_precision_score(targets == 0, first))


def test_correlation_survives_an_outlier_that_a_resample_leaves_out() -> None:
    rng = np.random.default_rng(3)
    x, y = rng.normal(size=50), rng.normal(size=50)
    x[0] = 1e12
    predictions = Predictions(x, x, y, np.arange(50))
    weights = np.ones((1, 50))
    weights[0, 0] = 0
    value = evaluator("regression", 1).values("pearson", predictions, weights)[0]
    assert value == pytest.approx(scipy.stats.pearsonr(x[1:], y[1:]).statistic, abs=1e-9)


@pytest.mark.parametrize("name", ["r2", "pearson", "spearman"])
def test_resample_without_variation_is_undefined_whatever_rounding_leaves(name: str) -> None:
    targets = np.array([0.1] * 7 + [0.7, 0.3])
    predictions = Predictions(np.arange(9.0), np.arange(9.0), targets, np.arange(9))
    weights = np.ones((2, 9))
    weights[1, 7:] = 0
    assert np.isfinite(evaluator("regression", 1).values(name, predictions, weights)).tolist() == [True, False]


def test_confusion_matrix_has_a_row_and_column_for_every_class() -> None:
    targets, decisions = np.array([0, 0, 1, 2, 2, 2]), np.array([0, 1, 1, 2, 0, 2])
    predictions = Predictions(np.full((6, 4), 0.25), decisions, targets, np.arange(6))
    found = confusion_matrix(predictions)
    np.testing.assert_array_equal(found, sk.confusion_matrix(targets, decisions, labels=range(4)))


def test_each_metric_is_explained_and_each_task_has_its_default() -> None:
    assert all(metric.words and metric.source and metric.tasks for metric in METRICS.values())
    for task in ("classification", "multilabel", "regression"):
        assert task in METRICS[default_metric(task)].tasks
