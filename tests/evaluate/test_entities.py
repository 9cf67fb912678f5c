"""Entity metrics against seqeval, for any tags, any weighting of the rows, and each type."""

from __future__ import annotations

from dataclasses import replace
from pathlib import Path

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from seqeval.metrics import accuracy_score, f1_score, precision_score, recall_score
from seqeval.metrics.v1 import precision_recall_fscore_support
from seqeval.scheme import IOB2

from tunewise.errors import NonFiniteError, RecipeError
from tunewise.evaluate.baselines import baselines_for, run_baseline
from tunewise.evaluate.decide import decide
from tunewise.evaluate.evaluator import Evaluator
from tunewise.evaluate.functions import rows_of
from tunewise.evaluate.metrics import default_metric
from tunewise.evaluate.settings import EvaluateConfig
from tunewise.types import DataBundle, DataStep, Predictions, Schema, Split

LABELS = ("O", "B-loc", "I-loc", "B-creative-work", "I-creative-work", "B-x-", "I-x-")
SCHEMA = Schema("token_classification", ("tokens",), "tags", LABELS)
TAGS = st.integers(0, len(LABELS) - 1)
ROWS = st.lists(st.lists(st.tuples(TAGS, TAGS), min_size=1, max_size=6), min_size=1, max_size=5)
STRICT = {"mode": "strict", "scheme": IOB2, "zero_division": 0}


def evaluator(schema: Schema = SCHEMA, **options) -> Evaluator:
    return Evaluator(schema, EvaluateConfig(resamples=100, **options), Path())


def predictions(rows, labels=LABELS) -> Predictions:
    """Of rows of (target, decision) per word."""
    shape = len(rows), max(map(len, rows))
    targets, decisions = np.full(shape, -1), np.full(shape, -1)
    for row, words in enumerate(rows):
        targets[row, : len(words)], decisions[row, : len(words)] = zip(*words, strict=True)
    scores = np.eye(len(labels))[decisions]
    scores[decisions < 0] = np.nan
    return Predictions(scores, decisions, targets, np.arange(1, len(rows) + 1))


def names(tags, labels=LABELS) -> list[list[str]]:
    """As seqeval wants them; it takes hyphens off the end of a type."""
    return [[labels[tag].replace("x-", "x") for tag in row if tag >= 0] for row in tags]


@settings(max_examples=60, deadline=None)
@given(ROWS)
def test_scores_are_those_of_seqeval(rows) -> None:
    said = predictions(rows)
    true, decided = names(said.targets), names(said.decisions)
    found = evaluator().score(said)
    assert found["entity_f1"] == pytest.approx(f1_score(true, decided, **STRICT))
    assert found["entity_precision"] == pytest.approx(precision_score(true, decided, **STRICT))
    assert found["entity_recall"] == pytest.approx(recall_score(true, decided, **STRICT))
    assert found["token_accuracy"] == pytest.approx(accuracy_score(true, decided))
    _, _, f1, _ = precision_recall_fscore_support(true, decided, scheme=IOB2, zero_division=0)
    there = sorted({tag[2:] for row in (*true, *decided) for tag in row if tag[0] == "B"})
    for kind, value in zip(there, f1, strict=True):
        assert found[f"entity_f1_{'x-' if kind == 'x' else kind}"] == pytest.approx(value)


def test_by_hand() -> None:
    """Two entities there: loc of words 0 to 1, x- of word 2. Said: loc with the wrong end, x- right, one of air."""
    rows = [[(1, 1), (2, 0), (5, 5), (0, 3)], [(0, 2), (0, 0)]]
    found = evaluator().score(predictions(rows))
    assert (found["entity_precision"], found["entity_recall"]) == (1 / 3, 1 / 2)
    assert found["entity_f1"] == pytest.approx(0.4)
    assert found["token_accuracy"] == pytest.approx(3 / 6)
    assert (found["entity_f1_loc"], found["entity_f1_x-"], found["entity_f1_creative-work"]) == (0, 1, 0)


@settings(max_examples=20, deadline=None)
@given(ROWS, st.data())
def test_a_weighted_row_counts_as_if_it_stood_there_so_often(rows, data) -> None:
    said, judge = predictions(rows), evaluator()
    counts = data.draw(st.lists(st.integers(0, 3), min_size=len(rows), max_size=len(rows)).filter(sum))
    repeated = rows_of(said, np.arange(len(rows)).repeat(counts))
    for name in judge.names:
        (value,) = judge.values(name, said, np.array([counts], dtype=float))
        assert value == pytest.approx(judge.score_one(name, repeated)), name


def test_plain_tags_are_read_in_runs() -> None:
    labels = ("O", "loc", "per")
    rows = [[(1, 1), (1, 1), (0, 0), (2, 2), (1, 2)]]
    said = predictions(rows, labels)
    found = evaluator(replace(SCHEMA, labels=labels)).score(said)
    as_bio = [["B-loc", "I-loc", "O", "B-per", "B-loc"]], [["B-loc", "I-loc", "O", "B-per", "I-per"]]
    assert found["entity_f1"] == pytest.approx(f1_score(*as_bio, **STRICT)) == pytest.approx(2 / 5)


def test_intervals_are_over_rows() -> None:
    right, wrong = [(1, 1), (2, 2)], [(1, 0), (2, 0)]
    judge = evaluator()
    score = judge.score_with_intervals(predictions([right, wrong] * 20))["entity_recall"]
    assert score.value == 0.5 and 0.3 < score.low < 0.45 < 0.55 < score.high < 0.7
    sure = judge.score_with_intervals(predictions([right] * 9))["entity_f1"]
    assert (sure.value, sure.low, sure.high) == (1.0, 1.0, 1.0)


def test_decisions_and_what_is_not_finite() -> None:
    scores = np.array([[[0.1, 0.6, 0.3], [0.8, 0.1, 0.1]], [[0.2, 0.3, 0.5], [np.nan] * 3]])
    schema = replace(SCHEMA, labels=("O", "B-a", "I-a"))
    decisions = decide(scores, schema)
    assert decisions.tolist() == [[1, 0], [2, -1]] and decisions.dtype == np.int64
    targets = np.array([[1, 0], [2, -1]])
    assert evaluator(schema).score(Predictions(scores, decisions, targets, np.array([4, 7])))["token_accuracy"] == 1
    with pytest.raises(NonFiniteError, match="1 of 2 rows") as caught:
        evaluator(schema).score(Predictions(scores, decisions, np.array([[1, 0], [2, 0]]), np.array([4, 7])))
    assert caught.value.where == "row 7"


def test_which_metrics_there_are() -> None:
    assert evaluator().names == [
        "entity_precision",
        "entity_recall",
        "entity_f1",
        "token_accuracy",
        "entity_f1_loc",
        "entity_f1_creative-work",
        "entity_f1_x-",
    ]
    assert default_metric("token_classification") == "entity_f1"
    with pytest.raises(RecipeError, match="'f1_macro' is for classification and multilabel"):
        evaluator().check_metric("f1_macro")
    with pytest.raises(RecipeError, match="threshold"):
        evaluator(threshold="entity_f1")


def test_without_seqeval_it_is_said_how_to_install_it(monkeypatch: pytest.MonkeyPatch) -> None:
    import importlib.util

    real = importlib.util.find_spec
    monkeypatch.setattr(importlib.util, "find_spec", lambda name: None if name == "seqeval" else real(name))
    with pytest.raises(RecipeError, match="seqeval") as caught:
        evaluator()
    assert caught.value.fix == "pip install 'tunewise[entities]'"
    Evaluator(Schema("regression", ("t",), "l"), EvaluateConfig(), Path())


def split(name: str, rows: dict[str, list[int]]) -> Split:
    width = max(map(len, rows.values()))
    targets = np.array([tags + [-1] * (width - len(tags)) for tags in rows.values()])
    return Split(name, tuple((text,) for text in rows), targets, np.arange(1, len(rows) + 1), "toy")


def test_baselines() -> None:
    """EU is loc in two of three places, Berlin always, x nowhere."""
    train = split("train", {"EU is": [1, 0], "an EU": [0, 1], "EU law": [0, 0], "Berlin is it": [1, 0, 0]})
    test = split("test", {"EU is x Berlin": [1, 0, 0, 1], "eu": [0]})
    schema = replace(SCHEMA, labels=("O", "B-loc", "I-loc"))
    steps = (DataStep("made", 6, 6, ""),)
    data = DataBundle({"train": train, "validation": test, "test": test}, schema, steps, "toy")
    assert baselines_for("token_classification") == ["majority", "lookup"]
    judge = evaluator(schema)
    said = {name: run_baseline(name, data, judge, "entity_f1").predictions["test"] for name in ("majority", "lookup")}
    nothing = [np.nan] * 3
    shares = [6 / 9, 3 / 9, 0]
    np.testing.assert_allclose(said["majority"].scores, [[shares] * 4, [shares, nothing, nothing, nothing]])
    np.testing.assert_allclose(
        said["lookup"].scores,
        [[[1 / 3, 2 / 3, 0], [1, 0, 0], shares, [0, 1, 0]], [shares, nothing, nothing, nothing]],
    )
    assert said["lookup"].decisions.tolist() == [[1, 0, 0, 1], [0, -1, -1, -1]]
    assert (judge.score(said["majority"])["entity_f1"], judge.score(said["lookup"])["entity_f1"]) == (0, 1)
