"""The strength of regularisation: the grid goes by the features, the choice by what validation can tell."""

from __future__ import annotations

from pathlib import Path

import numpy as np
import pytest
import torch
from sklearn.linear_model import LogisticRegression, Ridge
from sklearn.metrics import f1_score

from tunewise.engine import strengths
from tunewise.engine.strengths import GRIDS, Judge, Judged, best_strength, mean_loss, strengths_to_try
from tunewise.evaluate.evaluator import Evaluator
from tunewise.evaluate.settings import EvaluateConfig
from tunewise.objectives import ObjectiveConfig
from tunewise.objectives.cross_entropy import binary_cross_entropy_sum, cross_entropy_sum
from tunewise.types import Schema, Split

RNG = np.random.default_rng(0)
PLAIN = ObjectiveConfig()


def judged(value: float, loss: float, noise: float = 0.0, seed: int = 0) -> Judged:
    return Judged(value, value + noise * np.random.default_rng(seed).normal(size=200), loss)


def test_one_row_more_that_is_right_does_not_choose() -> None:
    """37 photographs: one strength has all right and is sure of none, the others all but one."""
    rows, wrong = 37, 5
    sure, unsure = np.zeros((rows, 2)), np.zeros((rows, 2))
    targets = RNG.integers(0, 2, rows)
    sure[np.arange(rows), targets], unsure[np.arange(rows), targets] = 4.0, 0.3
    sure[wrong] = -sure[wrong]
    schema = Schema("classification", ("text",), "label", ("ants", "bees"))
    split = Split("validation", tuple((str(row),) for row in range(rows)), targets, np.arange(rows), "toy")
    judge = Judge(split, Evaluator(schema, EvaluateConfig(), Path()), "accuracy")
    found = {10.0: judge(sure), 0.1: judge(unsure)}
    assert (found[10.0].value, found[0.1].value) == (36 / 37, 1.0)
    assert found[10.0].loss < found[0.1].loss
    assert best_strength(found) == 10.0


@pytest.mark.parametrize(
    ("found", "best"),
    [
        ({1.0: judged(0.9, 0.5), 10.0: judged(0.8, 0.1)}, 1.0),  # surely better: the loss is not asked
        ({1.0: judged(0.9, 0.5, 0.1, 1), 10.0: judged(0.8, 0.1, 0.1, 2)}, 10.0),
        ({1.0: judged(0.9, 0.5, 0.1, 1), 10.0: judged(0.8, 0.1, 0.1, 1)}, 1.0),  # on the same rows the noise is shared
        ({1.0: judged(0.5, 0.2), 10.0: judged(0.5, 0.2), 100.0: judged(0.5, 0.2)}, 1.0),
        ({1.0: judged(np.nan, 0.1), 10.0: judged(0.2, 0.5)}, 10.0),
        ({1.0: judged(np.nan, 0.3), 10.0: judged(np.nan, 0.2)}, 10.0),
        ({1.0: judged(0.5, np.inf), 10.0: judged(0.5, np.nan), 100.0: judged(0.5, 9.0)}, 100.0),
    ],
)
def test_the_metric_decides_where_it_can_tell_and_the_loss_elsewhere(found: dict[float, Judged], best: float) -> None:
    assert best_strength(found) == best


def test_a_judge_scores_every_head_on_the_same_resamples() -> None:
    schema = Schema("classification", ("text",), "label", ("a", "b", "c"))
    targets = RNG.integers(0, 3, 50)
    split = Split("validation", tuple((str(row),) for row in range(50)), targets, np.arange(50), "toy")
    evaluator = Evaluator(schema, EvaluateConfig(), Path())
    logits = RNG.normal(size=(50, 3)) + 2 * np.eye(3)[targets]
    first, again = (Judge(split, evaluator, "f1_macro")(logits) for _ in range(2))
    assert first.value == pytest.approx(f1_score(targets, logits.argmax(1), average="macro"))
    assert len(first.resampled_R) == 200 and np.array_equal(first.resampled_R, again.resampled_R)
    assert abs(first.resampled_R.mean() - first.value) < 0.03 and 0.02 < first.resampled_R.std() < 0.12
    loss = Judge(split, evaluator, "log_loss")(logits)
    assert loss.value == pytest.approx(-loss.loss)  # less is better, so its sign is turned


@pytest.mark.parametrize("weights", [None, np.array([1.0, 3.0, 0.5])])
def test_losses_are_those_that_training_has(weights: np.ndarray | None) -> None:
    logits, targets = RNG.normal(size=(20, 3)), RNG.integers(0, 3, 20)
    outputs, right = torch.tensor(logits, dtype=torch.float32), torch.from_numpy(targets)
    items = 20 if weights is None else weights[targets].sum()
    wanted = float(cross_entropy_sum(outputs, right, weights, PLAIN)) / items
    assert mean_loss("classification", logits, targets, weights) == pytest.approx(wanted, rel=1e-5)
    marks = RNG.integers(0, 2, (20, 3)).astype(np.float32)
    wanted = float(binary_cross_entropy_sum(outputs, torch.from_numpy(marks), weights, PLAIN)) / 60
    assert mean_loss("multilabel", logits, marks, weights) == pytest.approx(wanted, rel=1e-5)
    words, tags = np.concatenate([logits, np.full((4, 3), np.nan)]).reshape(8, 3, 3), np.append(targets, [-1] * 4)
    assert mean_loss("token_classification", words, tags.reshape(8, 3), weights) == pytest.approx(
        mean_loss("classification", logits, targets, weights)
    )


def test_the_loss_of_numbers_and_of_classes_that_have_no_weight() -> None:
    assert mean_loss("regression", np.array([[1.0], [4.0]]), np.array([2.0, 2.0])) == 2.5
    assert np.isnan(mean_loss("classification", np.zeros((1, 2)), np.array([0]), np.array([0.0, 1.0])))


@pytest.mark.parametrize("scale", [0.01, 30.0])
def test_the_grid_goes_by_the_spread_of_the_features(scale: float) -> None:
    """Scaled and moved features give the same heads: those of scikit-learn on features of spread 1."""
    plain = RNG.normal(size=(60, 5)) / np.sqrt(5)
    plain = (plain - plain.mean(0)) / np.sqrt(plain.var(0).sum())
    assert (
        strengths_to_try("logistic", plain) == GRIDS["logistic"] and strengths_to_try("ridge", plain) == GRIDS["ridge"]
    )
    moved = scale * (plain + 3)
    targets = (plain[:, 0] + 0.3 * RNG.normal(size=60) > 0).astype(int)
    for own, given in zip(GRIDS["logistic"], strengths_to_try("logistic", moved), strict=True):
        wanted = LogisticRegression(C=own, tol=1e-8, max_iter=9000).fit(plain, targets).predict_proba(plain)
        found = LogisticRegression(C=given, tol=1e-8, max_iter=9000).fit(scale * plain, targets)
        np.testing.assert_allclose(found.predict_proba(scale * plain), wanted, atol=0.02)
    for own, given in zip(GRIDS["ridge"], strengths_to_try("ridge", moved), strict=True):
        wanted = Ridge(alpha=own).fit(plain, targets).predict(plain)
        np.testing.assert_allclose(Ridge(alpha=given).fit(moved, targets).predict(moved), wanted, atol=2e-3)
    assert strengths_to_try("mlp", moved) == GRIDS["mlp"]
    assert strengths_to_try("logistic", np.ones((3, 4))) == GRIDS["logistic"]


@pytest.mark.parametrize("at_once", [7, 60, 10_000])
def test_the_spread_of_many_rows_is_found_some_at_a_time(at_once: int, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(strengths, "ROWS_AT_ONCE", at_once)
    features = (1000 + RNG.normal(size=(60, 5))).astype(np.float32)
    assert strengths._variance(features) == pytest.approx(features.var(axis=0, dtype=np.float64).sum(), rel=1e-12)
