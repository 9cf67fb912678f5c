from __future__ import annotations

from pathlib import Path

import numpy as np
import pytest

from tunewise.errors import RecipeError
from tunewise.evaluate.evaluator import Evaluator
from tunewise.evaluate.settings import EvaluateConfig
from tunewise.types import Predictions, Schema

SCHEMA = Schema("classification", ("text",), "label", ("no", "yes"))
SOURCE = """
from __future__ import annotations
from dataclasses import dataclass
from pathlib import Path

@dataclass
class Rates:
    profit: float = 2.0

(Path(__file__).parent / "ran").touch()

def profit(targets, decisions, scores):
    gained = Rates().profit * (targets == decisions).mean()
    targets[:] = 0
    return gained

def touchy(targets, decisions, scores):
    if len(set(targets)) < 2:
        raise ValueError("one class only")
    return 1.0

def broken(targets, decisions, scores):
    raise KeyError("oops")

def wordy(targets, decisions, scores):
    return "much"

def endless(targets, decisions, scores):
    return float("inf")

def accuracy(targets, decisions, scores):
    return 0.0

number = 3
"""


@pytest.fixture
def folder(tmp_path: Path) -> Path:
    home = tmp_path / "home"
    home.mkdir()
    (home / "mine.py").write_text(SOURCE)
    (home / "wrong.py").write_text("raise SystemExit(3)")
    (tmp_path / "outside.py").write_text(SOURCE)
    (home / "link.py").symlink_to(tmp_path / "outside.py")
    return home


def make(folder: Path, reference: str, allow_code: bool = True, resamples: int = 1000) -> Evaluator:
    return Evaluator(SCHEMA, EvaluateConfig(functions=[reference], resamples=resamples), folder, allow_code)


def predictions(rows: int = 40, positives: int = 20) -> Predictions:
    rng = np.random.default_rng(0)
    scores = rng.dirichlet([1, 1], size=rows)
    targets = (np.arange(rows) < positives).astype(np.int64)
    return Predictions(scores, scores.argmax(axis=1), targets, np.arange(rows))


def test_own_metric_is_scored_with_an_interval(folder: Path) -> None:
    evaluate, said = make(folder, "mine.py:profit"), predictions()
    scored = evaluate.score_with_intervals(said, seed=1)
    assert scored["profit"].value == pytest.approx(2 * scored["accuracy"].value)
    assert scored["profit"].low < scored["profit"].value < scored["profit"].high
    assert evaluate.greater_is_better("profit") and evaluate.resamples_for("profit") == 200
    few = make(folder, "mine.py:profit", resamples=150).score_with_intervals(said, seed=1)
    assert few["profit"].low == pytest.approx(2 * few["accuracy"].low)
    assert said.targets.sum() == 20, "the function got a copy"


def test_code_runs_only_where_allowed(folder: Path) -> None:
    with pytest.raises(RecipeError, match="--allow-code"):
        make(folder, "mine.py:profit", allow_code=False)
    assert not (folder / "ran").exists()
    make(folder, "mine.py:profit")
    assert (folder / "ran").exists()


@pytest.mark.parametrize("file", ["../outside.py", "link.py", "{parent}/outside.py"])
def test_file_outside_the_folder_never_runs(folder: Path, file: str) -> None:
    with pytest.raises(RecipeError, match="must lie in the recipe's folder"):
        make(folder, file.format(parent=folder.parent) + ":profit")
    assert not (folder.parent / "ran").exists()


@pytest.mark.parametrize(
    ("reference", "what"),
    [
        ("mine.py", "expected file.py:function"),
        ("mine.py:", "expected file.py:function"),
        ("mine.txt:profit", "expected file.py:function"),
        ("mi\0ne.py:profit", "expected file.py:function"),
        ("absent.py:profit", "there is no file 'absent.py'"),
        ("mine.py:proft", "holds no function 'proft'"),
        ("mine.py:number", "holds no function 'number'"),
        ("wrong.py:profit", "cannot be run: SystemExit"),
        ("mine.py:accuracy", "already a metric called 'accuracy'"),
    ],
)
def test_wrong_reference_is_refused(folder: Path, reference: str, what: str) -> None:
    with pytest.raises(RecipeError) as error:
        make(folder, reference)
    assert what in error.value.what
    assert error.value.where == f"evaluate.functions: {reference}"


@pytest.mark.parametrize(
    ("name", "what"), [("broken", "failed: KeyError"), ("wordy", "got 'much'"), ("endless", "finite number, got inf")]
)
def test_useless_result_is_refused(folder: Path, name: str, what: str) -> None:
    evaluate = make(folder, f"mine.py:{name}")
    with pytest.raises(RecipeError) as error:
        evaluate.score(predictions())
    assert what in error.value.what


def test_resamples_that_the_function_cannot_judge_are_undefined(folder: Path) -> None:
    evaluate, said = make(folder, "mine.py:touchy"), predictions(positives=1)
    weights = np.ones((2, 40))
    weights[1, 0] = 0
    np.testing.assert_array_equal(evaluate.values("touchy", said, weights), [1.0, np.nan])
