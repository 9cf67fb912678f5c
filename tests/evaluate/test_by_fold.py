"""Metrics over folds: those that rank rows are means over folds, all others those of the rows together."""

from __future__ import annotations

from pathlib import Path

import numpy as np
import pytest
from sklearn import metrics

from tunewise.evaluate.by_fold import RANKING, by_fold
from tunewise.evaluate.evaluator import Evaluator
from tunewise.evaluate.settings import EvaluateConfig
from tunewise.types import Predictions, Schema


def predictions(classes: int, rows: int = 90) -> tuple[Predictions, np.ndarray]:
    """Models of three folds, each with a scale of its own: taken together, their scores rank nothing."""
    rng = np.random.default_rng(3)
    folds, targets = np.repeat([1, 2, 3], rows // 3), rng.integers(classes, size=rows)
    logits = rng.normal(size=(rows, classes)) + 1.5 * np.eye(classes)[targets]
    logits[:, 0] += np.array([0.0, 3.0, -3.0])[folds - 1]
    scores = np.exp(logits) / np.exp(logits).sum(1, keepdims=True)
    order = rng.permutation(rows)
    said = Predictions(scores[order], scores[order].argmax(1), targets[order], np.arange(rows))
    return said, folds[order]


@pytest.mark.parametrize("classes", [2, 3])
def test_against_scikit_learn(classes: int) -> None:
    said, folds = predictions(classes)
    schema = Schema("classification", ("text",), "label", tuple("abc"[:classes]))
    plain = Evaluator(schema, EvaluateConfig(), Path())
    found = by_fold(plain, folds)
    scores, together = found.score(said), plain.score(said)
    own, average = [], []
    for fold in (1, 2, 3):
        targets, given = said.targets[folds == fold], said.scores[folds == fold]
        marks = np.eye(classes)[targets]
        columns = [1] if classes == 2 else range(classes)
        own.append(np.mean([metrics.roc_auc_score(marks[:, c], given[:, c]) for c in columns]))
        average.append(np.mean([metrics.average_precision_score(marks[:, c], given[:, c]) for c in columns]))
    assert scores["roc_auc"] == pytest.approx(np.mean(own))
    assert scores["average_precision"] == pytest.approx(np.mean(average))
    assert scores["f1_macro"] == pytest.approx(metrics.f1_score(said.targets, said.decisions, average="macro"))
    assert scores["log_loss"] == pytest.approx(metrics.log_loss(said.targets, said.scores))
    assert {name for name in scores if scores[name] != together[name]} == set(RANKING)
    assert together["roc_auc"] < scores["roc_auc"] - 0.03  # what taking them together would have cost
    assert plain.score(said) == together  # the one given is as it was


def test_under_weights_a_row_counts_as_often_as_it_was_drawn_and_undefined_folds_are_left_out() -> None:
    said, folds = predictions(2)
    found = by_fold(Evaluator(Schema("classification", ("t",), "l", ("a", "b")), EvaluateConfig(), Path()), folds)
    weights = np.ones((2, 90))
    weights[0] = np.random.default_rng(0).integers(0, 3, size=90)
    weights[1, (folds == 2) & (said.targets == 1)] = 0
    drawn, left = found.values("roc_auc", said, weights)
    area = metrics.roc_auc_score
    each = [
        area(said.targets[folds == f], said.scores[folds == f, 1], sample_weight=weights[0, folds == f])
        for f in (1, 2, 3)
    ]
    assert drawn == pytest.approx(np.mean(each))
    whole = [area(said.targets[folds == f], said.scores[folds == f, 1]) for f in (1, 3)]
    assert left == pytest.approx(np.mean(whole))
