"""The metric on rows that were cut, against scikit-learn on the same rows."""

from __future__ import annotations

import re
from pathlib import Path

import numpy as np
import pytest
from sklearn.metrics import f1_score, roc_auc_score

from tunewise.evaluate.cut_rows import FEWEST, told_effect
from tunewise.evaluate.evaluator import Evaluator
from tunewise.evaluate.settings import EvaluateConfig
from tunewise.types import Predictions, Schema

SCHEMA = Schema("classification", ("text",), "label", ("ham", "spam"))


def evaluator(folder: Path = Path("."), **options: object) -> Evaluator:
    return Evaluator(SCHEMA, EvaluateConfig(resamples=200, **options), folder, bool(options))


def predictions(rows: int) -> Predictions:
    rng = np.random.default_rng(0)
    targets = rng.integers(2, size=rows)
    spam = np.clip(0.3 + 0.4 * targets + rng.normal(scale=0.3, size=rows), 0.01, 0.99)
    scores = np.stack([1 - spam, spam], axis=1)
    return Predictions(scores, scores.argmax(axis=1), targets, np.arange(1, rows + 1))


def test_each_kind_of_row_is_scored_by_itself() -> None:
    said, rows = predictions(150), np.sort(np.random.default_rng(1).permutation(150)[:40])
    told = told_effect("test", said, rows, "f1_macro", evaluator())
    found = re.fullmatch(
        r"test: f1_macro is (\S+) \((\S+) to (\S+)\) on the 40 rows that were cut, "
        r"(\S+) \((\S+) to (\S+)\) on the 110 rows that were read whole",
        told,
    )
    cut, low, high, whole, *_ = map(float, found.groups())
    others = np.setdiff1d(np.arange(150), rows)
    for value, part in ((cut, rows), (whole, others)):
        wanted = f1_score(said.targets[part], said.decisions[part], average="macro")
        assert value == pytest.approx(wanted, abs=5e-4)
    assert low < cut < high
    resampled = [np.random.default_rng(seed).choice(rows, size=40) for seed in range(400)]
    drawn = [f1_score(said.targets[part], said.decisions[part], average="macro") for part in resampled]
    assert (low, high) == pytest.approx(tuple(np.quantile(drawn, [0.025, 0.975])), abs=0.05)
    assert told == told_effect("test", said, rows, "f1_macro", evaluator())


@pytest.mark.parametrize(("cut", "told"), [(0, False), (19, False), (20, True), (80, True), (81, False), (100, False)])
def test_only_where_there_are_twenty_of_each(cut: int, told: bool) -> None:
    assert FEWEST == 20
    assert bool(told_effect("test", predictions(100), np.arange(cut), "accuracy", evaluator())) == told


def test_what_is_undefined_on_a_part_is_called_so() -> None:
    said = predictions(100)
    rows = np.flatnonzero(said.targets == 1)
    told = told_effect("test", said, rows[:30], "roc_auc", evaluator())
    assert told.startswith("test: roc_auc is undefined on the 30 rows that were cut, 0.")
    others = np.setdiff1d(np.arange(100), rows[:30])
    wanted = roc_auc_score(said.targets[others], said.scores[others, 1])
    assert f", {wanted:.3f} (" in told


def test_a_function_of_the_user_that_needs_all_rows_stops_nothing(tmp_path: Path) -> None:
    (tmp_path / "own.py").write_text(
        "def share(targets, decisions, scores):\n"
        "    assert len(targets) == 100\n"
        "    return float((targets == decisions).mean())\n"
    )
    own = evaluator(tmp_path, functions=["own.py:share"])
    told = told_effect("test", predictions(100), np.arange(40), "share", own)
    assert told == (
        "test: share is undefined on the 40 rows that were cut, undefined on the 60 rows that were read whole"
    )
