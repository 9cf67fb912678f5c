"""Predictions of folds joined: each row once, in the order of row numbers, and statistics as on one test set."""

from __future__ import annotations

from pathlib import Path
from types import SimpleNamespace

import numpy as np
import pytest

from tunewise.comparison.entry import Entry
from tunewise.comparison.judged import join, judge
from tunewise.comparison.rates import is_tried, list_trials
from tunewise.comparison.statistics import bootstrap, compare_pairs
from tunewise.errors import StoreError
from tunewise.evaluate.evaluator import Evaluator
from tunewise.evaluate.settings import EvaluateConfig
from tunewise.recipe import MethodChoice, recipe_from
from tunewise.tracking.predictions import write_predictions
from tunewise.types import Predictions, Schema

SCHEMA = Schema("classification", ("text",), "label", ("a", "b", "c"))
EVALUATOR = Evaluator(SCHEMA, EvaluateConfig(resamples=300), Path())


def said(rows: int = 120, skill: float = 1.0, seed: int = 0) -> Predictions:
    targets = np.random.default_rng(9).integers(3, size=rows)
    logits = np.random.default_rng(seed).normal(size=(rows, 3)) + skill * np.eye(3)[targets]
    scores = np.exp(logits) / np.exp(logits).sum(1, keepdims=True)
    return Predictions(scores, scores.argmax(1), targets, np.arange(1, rows + 1))


def part_of(whole: Predictions, places: np.ndarray) -> Predictions:
    return Predictions(whole.scores[places], whole.decisions[places], whole.targets[places], whole.rows[places])


def folds_of(whole: Predictions, count: int = 4) -> list[Predictions]:
    """In no order of rows, as files of folds are."""
    order = np.random.default_rng(2).permutation(len(whole.rows))
    return [part_of(whole, np.sort(order[fold::count])) for fold in range(count)]


def test_joined_folds_are_the_whole_and_so_are_the_statistics():
    whole = {
        name: [said(skill=skill, seed=seed + 10 * n) for seed in range(3)]
        for n, (name, skill) in enumerate({"good": 1.5, "bad": 0.6, "luck": 1.5}.items())
    }
    joined = {name: [join(folds_of(each)) for each in seeds] for name, seeds in whole.items()}
    for name, seeds in whole.items():
        for one, other in zip(seeds, joined[name], strict=True):
            for key in ("scores", "decisions", "targets", "rows"):
                assert np.array_equal(getattr(one, key), getattr(other, key))
    kinds = dict.fromkeys(whole, "method")
    pairs = compare_pairs(bootstrap(joined, EVALUATOR, "f1_macro"), "good", kinds)
    assert pairs == compare_pairs(bootstrap(whole, EVALUATOR, "f1_macro"), "good", kinds)
    assert [pair.distinguishable for pair in pairs] == [True, False]


def test_rows_of_words_are_as_long_as_the_longest():
    short = Predictions(np.full((2, 3, 2), 0.5), np.zeros((2, 3), int), np.zeros((2, 3), int), np.array([4, 1]))
    long = Predictions(np.full((1, 5, 2), 0.5), np.ones((1, 5), int), np.ones((1, 5), int), np.array([2]))
    joined = join([short, long])
    assert joined.rows.tolist() == [1, 2, 4] and joined.scores.shape == (3, 5, 2)
    assert joined.targets.tolist() == [[0, 0, 0, -1, -1], [1] * 5, [0, 0, 0, -1, -1]]
    assert np.array_equal(joined.targets, joined.decisions)
    assert np.isnan(joined.scores[0, 3:]).all() and np.isfinite(joined.scores[1]).all()


def test_a_row_that_two_folds_tested_is_an_error():
    whole = said()
    with pytest.raises(StoreError, match="2 rows were tested by two folds") as problem:
        join([part_of(whole, np.arange(5)), part_of(whole, np.arange(3, 9))])
    assert problem.value.where == "row 4"


def test_a_seed_counts_once_all_its_folds_have_finished(tmp_path: Path) -> None:
    finished = {}
    runs = {("good", seed): said(skill=1.5, seed=seed) for seed in (0, 1)} | {("bad", 0): said(skill=0.5, seed=7)}
    for (name, seed), whole in runs.items():
        for fold, part in enumerate(folds_of(whole), start=1):
            if (name, seed, fold) == ("good", 1, 3):
                continue
            entry = Entry(name, name, "m", seed, "method", tmp_path / f"{name}-fold{fold}-seed{seed}", fold=fold)
            write_predictions(entry.folder, {"test": part, "validation": part_of(part, np.arange(10 + fold))})
            finished[entry] = None
    checked = SimpleNamespace(data=SimpleNamespace(tests={"test": None}), evaluator=EVALUATOR, metric="accuracy")
    places = {row: fold for fold, part in enumerate(folds_of(said()), start=1) for row in part.rows.tolist()}
    folds = SimpleNamespace(count=4, texts=[("t",)] * 120, fold_of_row=np.array([places[row] for row in range(1, 121)]))
    judged = judge(finished, checked, folds)
    assert {name: len(seeds) for name, seeds in judged.test.items()} == {"good": 1, "bad": 1}
    for name in ("good", "bad"):
        whole = runs[name, 0]
        assert judged.scores[name][0]["accuracy"] == pytest.approx((whole.decisions == whole.targets).mean())
        parts = [part_of(part, np.arange(10 + fold)) for fold, part in enumerate(folds_of(whole), start=1)]
        each = [(part.decisions == part.targets).mean() for part in parts]
        assert judged.validation[name] == pytest.approx(np.mean(each))  # the mean over folds
    area = np.mean([EVALUATOR.score_one("roc_auc", part) for part in folds_of(runs["good", 0])])
    assert judged.scores["good"][0]["roc_auc"] == pytest.approx(area)


def test_rates_are_tried_on_the_first_fold_with_the_first_seed_alone(tmp_path: Path) -> None:
    recipe = recipe_from({"model": "m", "data": {"train": "t.csv", "folds": 3}, "rate_grid": [0.3, 1], "seeds": [5, 6]})
    choice = MethodChoice(name="lora")
    entries = [
        Entry("lora", "lora", "m", seed, "method", tmp_path / f"lora-fold{fold}-seed{seed}", choice, fold=fold)
        for seed in (5, 6)
        for fold in (1, 2, 3)
    ]
    trials = list_trials(recipe, entries)
    assert [trial.folder.name for trial in trials] == ["lora-fold1-rate0.3-seed5", "lora-fold1-rate1-seed5"]
    assert sum(is_tried(recipe, entry) for entry in entries) == 1
