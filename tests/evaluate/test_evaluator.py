from __future__ import annotations

import time
from pathlib import Path

import numpy as np
import pytest
from sklearn import metrics as sk

from tunewise.errors import NonFiniteError, RecipeError
from tunewise.evaluate.evaluator import Evaluator
from tunewise.evaluate.intervals import interval, resamples
from tunewise.evaluate.settings import EvaluateConfig
from tunewise.types import Predictions, Schema

SPAM = Schema("classification", ("text",), "label", ("ham", "spam"))
THREE = Schema("classification", ("text",), "label", ("billing", "refund", "other"))
TAGS = Schema("multilabel", ("text",), "tags", ("red", "blue", "green"))
PRICE = Schema("regression", ("text",), "price")


def make(schema: Schema, allow_code: bool = False, folder: Path = Path("."), **options) -> Evaluator:
    return Evaluator(schema, EvaluateConfig(**options), folder, allow_code)


def predictions(rows: int, schema: Schema = SPAM, seed: int = 0) -> Predictions:
    rng = np.random.default_rng(seed)
    targets = rng.integers(len(schema.labels), size=rows)
    logits = rng.normal(size=(rows, len(schema.labels)))
    logits[np.arange(rows), targets] += 1
    scores = np.exp(logits) / np.exp(logits).sum(axis=1, keepdims=True)
    return Predictions(scores, scores.argmax(axis=1), targets, np.arange(1, rows + 1))


def test_names_are_those_of_the_task() -> None:
    assert "f1" in make(SPAM).names and "f1" not in make(THREE).names
    assert {"hamming_loss", "f1_samples"} <= set(make(TAGS).names)
    assert make(PRICE).names == ["mse", "mae", "rmse", "r2", "pearson", "spearman"]


@pytest.mark.parametrize(
    ("schema", "name", "what", "fix"),
    [
        (SPAM, "f1_marco", "no metric 'f1_marco'", "did you mean 'f1_macro'"),
        (SPAM, "r2", "for regression, the task is classification", "accuracy"),
        (THREE, "f1", "needs two classes, the data has 3", "f1_macro"),
        (PRICE, "accuracy", "the task is regression", "r2"),
    ],
)
def test_unfit_metric_is_refused(schema: Schema, name: str, what: str, fix: str) -> None:
    with pytest.raises(RecipeError) as error:
        make(schema).check_metric(name)
    assert what in error.value.what
    assert fix in error.value.fix


@pytest.mark.parametrize(
    ("schema", "options", "where", "fix"),
    [
        (SPAM, {"positive": "spma"}, "evaluate.positive", "did you mean 'spam'"),
        (THREE, {"positive": "refund"}, "evaluate.positive", "leave"),
        (SPAM, {"costs": {"spam": {"hm": 1}}}, "evaluate.costs.spam", "did you mean 'ham'"),
        (SPAM, {"costs": {"spm": {"ham": 1}}}, "evaluate.costs", "did you mean 'spam'"),
        (PRICE, {"costs": {"a": {"b": 1}}}, "evaluate.costs", "leave"),
        (THREE, {"threshold": "f1_macro"}, "evaluate.threshold", "leave"),
        (SPAM, {"threshold": "roc_auc"}, "evaluate.threshold", "accuracy"),
        (SPAM, {"threshold": "f1_maco"}, "metric", "did you mean 'f1_macro'"),
    ],
)
def test_recipe_is_checked_when_made(schema: Schema, options: dict, where: str, fix: str) -> None:
    with pytest.raises(RecipeError) as error:
        make(schema, **options)
    assert error.value.where == where
    assert fix in error.value.fix


def test_cost_is_the_mean_over_rows() -> None:
    scores = np.tile([0.6, 0.4], (5, 1))
    said = Predictions(scores, np.array([0, 0, 1, 1, 0]), np.array([0, 1, 0, 1, 1]), np.arange(5))
    evaluate = make(SPAM, costs={"spam": {"ham": 10}, "ham": {"spam": 1.5, "ham": -1}})
    assert evaluate.score(said)["cost"] == pytest.approx((-1 + 10 + 1.5 + 0 + 10) / 5)
    assert not evaluate.greater_is_better("cost")


def test_interval_agrees_with_theory_and_with_the_seed() -> None:
    said = predictions(2000)
    evaluate = make(SPAM)
    scored = evaluate.score_with_intervals(said, seed=3)
    value = sk.accuracy_score(said.targets, said.decisions)
    half = 1.96 * np.sqrt(value * (1 - value) / 2000)
    assert scored["accuracy"].value == pytest.approx(value)
    assert scored["accuracy"].low == pytest.approx(value - half, abs=0.15 * half)
    assert scored["accuracy"].high == pytest.approx(value + half, abs=0.15 * half)
    assert all(score.low <= score.value <= score.high for score in scored.values())
    assert scored == evaluate.score_with_intervals(said, seed=3)
    assert scored != evaluate.score_with_intervals(said, seed=4)


def test_interval_equals_one_by_scikit_learn_on_the_same_resamples() -> None:
    said = predictions(80, THREE)
    values = []
    for weights in resamples(80, 300, np.random.default_rng(5)):
        for row in weights.astype(int):
            index = np.arange(80).repeat(row)
            values.append(sk.f1_score(said.targets[index], said.decisions[index], average="macro"))
    score = make(THREE, resamples=300).score_with_intervals(said, seed=5)["f1_macro"]
    assert (score.low, score.high) == pytest.approx(tuple(np.quantile(values, [0.025, 0.975])))


def test_blocks_of_resamples_do_not_change_them(monkeypatch: pytest.MonkeyPatch) -> None:
    whole = np.concatenate(list(resamples(30, 50, np.random.default_rng(0))))
    monkeypatch.setattr("tunewise.evaluate.intervals.CELLS_AT_ONCE", 30 * 7)
    blocks = list(resamples(30, 50, np.random.default_rng(0)))
    assert [len(block) for block in blocks] == [7] * 7 + [1]
    np.testing.assert_array_equal(np.concatenate(blocks), whole)
    assert (whole.sum(axis=1) == 30).all()


def test_values_do_not_depend_on_the_size_of_blocks(monkeypatch: pytest.MonkeyPatch) -> None:
    said, weights = predictions(40, THREE), next(resamples(40, 20, np.random.default_rng(0)))
    whole = make(THREE).values("roc_auc", said, weights)
    monkeypatch.setattr("tunewise.evaluate.evaluator.CELLS_AT_ONCE", 120)
    np.testing.assert_array_equal(make(THREE).values("roc_auc", said, weights), whole)


def test_undefined_resamples_are_left_out_until_there_are_too_many() -> None:
    values = np.arange(100.0)
    values[:10] = np.nan
    assert interval(values, 0.9) == pytest.approx(tuple(np.quantile(np.arange(10.0, 100), [0.05, 0.95])))
    values[10] = np.nan
    assert np.isnan(interval(values, 0.9)).all()
    # One positive row of 50: absent from (49/50)^50 = 36% of the resamples.
    targets = np.zeros(50, dtype=np.int64)
    targets[0] = 1
    said = predictions(50)
    rare = make(SPAM).score_with_intervals(Predictions(said.scores, said.decisions, targets, said.rows))
    assert np.isfinite(rare["roc_auc"].value) and np.isnan(rare["roc_auc"].low)
    assert np.isfinite(rare["accuracy"].low)


def test_nan_in_scores_names_the_rows() -> None:
    said = predictions(10)
    said.scores[3, 0] = np.nan
    with pytest.raises(NonFiniteError) as error:
        make(SPAM).score(said)
    assert "1 of 10 rows" in error.value.what and error.value.where == "row 4"


def test_many_classes_take_little_time() -> None:
    schema = Schema("classification", ("text",), "label", tuple(f"class {i}" for i in range(77)))
    started = time.perf_counter()
    make(schema).score_with_intervals(predictions(3000, schema))
    assert time.perf_counter() - started < 5
