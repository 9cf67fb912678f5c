from __future__ import annotations

from dataclasses import replace
from pathlib import Path

import numpy as np
import pytest
from sklearn.metrics import f1_score, precision_recall_curve

from tunewise.evaluate.decide import choose_threshold, decide
from tunewise.evaluate.evaluator import Evaluator
from tunewise.evaluate.settings import EvaluateConfig
from tunewise.types import Predictions, Schema

SPAM = Schema("classification", ("text",), "label", ("ham", "spam"))
TAGS = Schema("multilabel", ("text",), "tags", ("red", "blue"))


def make(schema: Schema, **options) -> Evaluator:
    return Evaluator(schema, EvaluateConfig(**options), Path("."))


def imbalanced(rows: int = 300) -> Predictions:
    rng = np.random.default_rng(0)
    targets = (rng.random(rows) < 0.1).astype(np.int64)
    spam = 1 / (1 + np.exp(-(rng.normal(size=rows) + 2 * targets - 3)))
    scores = np.stack([1 - spam, spam], axis=1)
    return Predictions(scores, scores.argmax(axis=1), targets, np.arange(rows))


def test_decisions_without_a_threshold() -> None:
    scores = np.array([[0.2, 0.5, 0.3], [0.4, 0.4, 0.2]])
    three = Schema("classification", ("text",), "label", ("a", "b", "c"))
    assert decide(scores, three).tolist() == [1, 0]
    assert decide(np.array([[0.5, 0.49], [0.1, 0.9]]), TAGS).tolist() == [[1, 0], [0, 1]]
    assert decide(np.array([1.5, -2.0]), Schema("regression", ("text",), "price")).tolist() == [1.5, -2.0]


def test_threshold_is_on_the_positive_class() -> None:
    scores = np.array([[0.8, 0.2], [0.7, 0.3], [0.1, 0.9]])
    assert decide(scores, SPAM, 0.3).tolist() == [0, 1, 1]
    assert decide(scores, SPAM, 0.75, positive="ham").tolist() == [0, 1, 1]
    assert decide(scores, SPAM, 0.7, positive="ham").tolist() == [0, 0, 1]
    assert decide(np.array([[0.3, 0.1]]), TAGS, 0.2).tolist() == [[1, 0]]


def test_chosen_threshold_reaches_the_best_f1_there_is() -> None:
    said, evaluate = imbalanced(), make(SPAM)
    threshold = choose_threshold("f1", said, evaluate)
    precision, recall, _ = precision_recall_curve(said.targets, said.scores[:, 1])
    best = np.nanmax(2 * precision * recall / np.maximum(precision + recall, 1e-12))
    reached = f1_score(said.targets, decide(said.scores, SPAM, threshold))
    assert reached == pytest.approx(best)
    assert reached > f1_score(said.targets, said.decisions) + 0.05
    assert np.abs(said.scores[:, 1] - threshold).min() > 1e-9, "a score on the threshold would hang on its last digit"


def test_threshold_for_a_cost_goes_the_right_way() -> None:
    said = imbalanced()
    evaluate = make(SPAM, costs={"spam": {"ham": 50.0}, "ham": {"spam": 1.0}})
    chosen = replace(said, decisions=decide(said.scores, SPAM, choose_threshold("cost", said, evaluate)))
    costs = [
        evaluate.score_one("cost", replace(said, decisions=(said.scores[:, 1] >= limit).astype(int)))
        for limit in np.append(said.scores[:, 1], 2.0)
    ]
    assert evaluate.score_one("cost", chosen) == pytest.approx(min(costs))


def test_multilabel_threshold_is_shared_and_equals_are_settled_towards_a_half() -> None:
    scores = np.array([[0.30, 0.05], [0.35, 0.28], [0.10, 0.40], [0.02, 0.08]])
    targets = np.array([[1, 0], [1, 1], [0, 1], [0, 0]], dtype=np.float32)
    said = Predictions(scores, decide(scores, TAGS), targets, np.arange(4))
    assert choose_threshold("accuracy", said, make(TAGS)) == pytest.approx((0.10 + 0.28) / 2)
    sure = Predictions(np.where(targets > 0, 0.99, 0.01), targets.astype(int), targets, np.arange(4))
    assert choose_threshold("f1_macro", sure, make(TAGS)) == 0.5
