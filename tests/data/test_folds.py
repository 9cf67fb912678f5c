"""Folds: every row is tested once, classes keep their share, groups stay whole, validation is no test row."""

from __future__ import annotations

import csv
import random
from collections import Counter
from collections.abc import Callable
from pathlib import Path
from typing import Any

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from sklearn.model_selection import StratifiedGroupKFold

from tunewise.data.clean import Rows
from tunewise.data.folds import fold_of_rows
from tunewise.data.prepare import prepare
from tunewise.data.settings import DataConfig
from tunewise.data.table import Table
from tunewise.data.write_splits import write_splits
from tunewise.errors import DataError


def rows_of(values: list[Any], texts: list[str] | None = None, groups: tuple[str | None, ...] = ()) -> Rows:
    texts = texts or [f"text {number}" for number in range(len(values))]
    table = Table("rows.csv", {"text": texts})
    return Rows(table, tuple(range(len(values))), tuple((text,) for text in texts), tuple(values), groups)


@settings(max_examples=100, deadline=None)
@given(
    counts=st.lists(st.integers(2, 30), min_size=1, max_size=6),
    folds=st.integers(2, 8),
    seed=st.integers(0, 3),
)
def test_of_rows_by_themselves_folds_are_equal_to_the_row_in_each_class(counts, folds, seed):
    values = [f"class {number}" for number, count in enumerate(counts) for _ in range(max(count, folds))]
    found = fold_of_rows(rows_of(values), "classification", folds, seed)
    assert set(found) == set(range(1, folds + 1))
    assert np.ptp(np.bincount(found, minlength=folds + 1)[1:]) <= 1
    for name in set(values):
        mine = np.bincount(found[np.array(values) == name], minlength=folds + 1)[1:]
        assert np.ptp(mine) <= 1 and mine.min() >= 1


@settings(max_examples=100, deadline=None)
@given(
    rows=st.lists(st.tuples(st.integers(0, 9), st.integers(0, 30), st.sampled_from("ab")), min_size=12, max_size=80),
    folds=st.integers(2, 4),
    grouped=st.booleans(),
)
def test_equal_texts_and_groups_are_never_apart_and_no_fold_is_empty(rows, folds, grouped):
    texts = [f"text {text}" for _, text, _ in rows]
    groups = tuple(f"group {group}" for group, _, _ in rows) if grouped else ()
    try:
        found = fold_of_rows(rows_of([value for *_, value in rows], texts, groups), "classification", folds, 0)
    except DataError as problem:
        assert "folds" in problem.where
        return
    assert set(found) == set(range(1, folds + 1))
    for keys in (texts, groups):
        assert all(len(set(held)) == 1 for held in by_key(keys, found).values())
    for name in "ab":  # what is tested was shown
        assert len({fold for (*_, value), fold in zip(rows, found.tolist(), strict=True) if value == name}) != 1


def by_key(keys: Any, found: np.ndarray) -> dict[str, list[int]]:
    held: dict[str, list[int]] = {}
    for key, fold in zip(keys, found.tolist(), strict=False):
        held.setdefault(key, []).append(fold)
    return held


@pytest.mark.parametrize("folds", [3, 5, 10])
def test_groups_are_dealt_better_than_by_scikit_learn(folds: int) -> None:
    """Mean over eight sets of 120 groups; of single sets, either may be a little ahead."""
    distances = [_distances(folds, seed) for seed in range(8)]
    own, theirs = np.mean(distances, axis=0)
    assert own < 0.7 * theirs


def _distances(folds: int, seed: int) -> tuple[float, float]:
    """The sum of the squared distances, in rows, of every class and of all from an equal share; ours and theirs."""
    draw = random.Random(seed)
    sizes = [3 + int(20 * draw.random() ** 3) for _ in range(120)]
    groups, values = [], []
    for number, size in enumerate(sizes):
        groups += [f"customer {number}"] * size
        values += draw.choices("abcd", weights=[draw.random() ** 3 for _ in "abcd"], k=size)
    own = fold_of_rows(rows_of(values, groups=tuple(groups)), "classification", folds, 0)
    theirs = np.zeros(len(values), dtype=np.int64)
    splitter = StratifiedGroupKFold(folds, shuffle=True, random_state=seed)
    for fold, (_, test) in enumerate(splitter.split(values, values, groups), start=1):
        theirs[test] = fold
    told = []
    for found in (own, theirs):
        cells = np.array(
            [[((found == f) & (np.array(values) == n)).sum() for n in "abcd"] for f in range(1, folds + 1)]
        )
        told.append(((cells - cells.mean(0)) ** 2).sum() + ((cells.sum(1) - cells.sum() / folds) ** 2).sum())
    return float(told[0]), float(told[1])


def test_neither_the_order_of_rows_nor_chance_decides_but_the_seed_does():
    values = list("aabbbcccc" * 6)
    texts = [f"text {number}" for number in range(len(values))]
    found = fold_of_rows(rows_of(values, texts), "classification", 4, 0)
    order = random.Random(5).sample(range(len(values)), len(values))
    again = fold_of_rows(rows_of([values[i] for i in order], [texts[i] for i in order]), "classification", 4, 0)
    assert again.tolist() == found[order].tolist()
    assert fold_of_rows(rows_of(values, texts), "classification", 4, 1).tolist() != found.tolist()


@pytest.mark.parametrize(
    ("values", "task"),
    [
        (list(np.linspace(0, 1, 40)), "regression"),
        ([("a",), ("a", "b"), ("b",), ()] * 10, "multilabel"),
    ],
)
def test_numbers_and_label_sets_keep_their_share_too(values: list[Any], task: Any) -> None:
    found = fold_of_rows(rows_of(values), task, 4, 0)
    assert np.bincount(found).tolist() == [0, 10, 10, 10, 10]
    if task == "regression":
        means = [np.mean([v for v, f in zip(values, found, strict=True) if f == fold]) for fold in range(1, 5)]
        assert np.ptp(means) < 0.1
    else:
        held = [Counter(v for v, f in zip(values, found, strict=True) if f == fold) for fold in range(1, 5)]
        assert all(max(h.values()) <= 3 and len(h) == 4 for h in held)


@pytest.fixture
def write(tmp_path: Path) -> Callable[..., Path]:
    def file(counts: dict[str, int], repeats: int = 0) -> Path:
        path = tmp_path / "rows.csv"
        with path.open("w", newline="") as target:
            writer = csv.writer(target)
            writer.writerow(["text", "label", "customer", "day"])
            number = 0
            for label, count in counts.items():
                for _ in range(count):
                    day = f"2024-01-{1 + number % 28:02d}"
                    writer.writerow([f"words {number} of {label}", label, f"c{number % 17}", day])
                    number += 1
            for _ in range(repeats):
                writer.writerow(["said again and again", "b", "c1", "2024-01-01"])
        return path

    return file


def config(path: Path, **more: Any) -> DataConfig:
    return DataConfig(**{"train": path.name, "text": "text", "label": "label", "folds": 5, **more})


@pytest.mark.parametrize(
    "more",
    [
        {},
        {"group": "customer"},
        {"folds": 2, "validation_share": 0.3},
        {"limit": 60},
        {"overlap_near": True, "overlap": "drop"},
    ],
)
def test_each_row_is_tested_once_and_validation_is_no_test_row(write, more: dict[str, Any]) -> None:
    path = write({"a": 40, "b": 30, "c": 20}, repeats=4)
    made = config(path, **more)
    bundles = [prepare(made.model_copy(update={"fold": fold}), path.parent) for fold in range(1, made.folds + 1)]
    tested = [row for data in bundles for row in data.splits["test"].rows.tolist()]
    assert len(tested) == len(set(tested)) == (60 if "limit" in more else 94)
    for data in bundles:
        assert list(data.splits) == ["train", "validation", "test"] and data.schema.labels == ("a", "b", "c")
        held = [set(split.rows.tolist()) for split in data.splits.values()]
        texts = [set(split.texts) for split in data.splits.values()]
        for first, second in ((0, 1), (0, 2), (1, 2)):
            assert not held[first] & held[second] and not texts[first] & texts[second]
        if "group" in more:
            customers = [set(split.columns["customer"]) for split in data.splits.values()]
            assert sum(map(len, customers)) == len(set().union(*customers)) == 17
        elif "overlap_near" not in more:
            # Of all rows, validation is what it is without folds.
            assert abs(len(data.splits["validation"]) - made.validation_share * len(tested)) <= 4
            assert set().union(*held) == set(tested)
    prints = [data.fingerprint for data in bundles]
    assert len(set(prints)) == made.folds
    again = [prepare(made.model_copy(update={"fold": fold}), path.parent).fingerprint for fold in (1, 2)]
    assert again == prints[:2]
    assert prepare(made, path.parent).fingerprint == prints[0]  # the first, where none is named
    told = next(step.reason for step in bundles[1].steps if step.name == "folds")
    assert f"{made.folds} folds of" in told and "this is fold 2" in told


def test_what_changes_training_rows_changes_those_of_a_fold_alone(write) -> None:
    path = write({"a": 40, "b": 30, "c": 20})
    plain = prepare(config(path, fold=3), path.parent)
    for more in ({"share": 0.5}, {"per_class": 5}, {"balance": "under"}):
        data = prepare(config(path, fold=3, **more), path.parent)
        for name in ("validation", "test"):
            assert data.splits[name].rows.tolist() == plain.splits[name].rows.tolist()
        assert len(data.splits["train"]) < len(plain.splits["train"])


@pytest.mark.parametrize(
    ("counts", "more", "where", "what"),
    [
        ({"a": 9, "b": 9}, {"test": "rows.csv"}, "data.test", "tested once"),
        ({"a": 9, "b": 9}, {"validation": "rows.csv"}, "data.validation", "does not test"),
        ({"a": 9, "b": 9}, {"time": "day"}, "data.time", "later rows"),
        ({"a": 9, "b": 9}, {"test_share": 0.3}, "data.test_share", "1/5 of the rows"),
        ({"a": 9, "b": 9}, {"folds": 2, "validation_share": 0.5}, "data.validation_share", "leave no rows"),
        ({"a": 9, "b": 9}, {"fold": 6}, "data.fold", "no fold 6 of 5"),
        ({"a": 9, "b": 9}, {"folds": None, "fold": 1}, "data.fold", "fold 1 of what"),
        ({"a": 9, "b": 4, "c": 3}, {}, "data.folds", r"2 classes with fewer different texts.*'b' \(4\), 'c' \(3\)"),
        ({"a": 30, "b": 1}, {}, "data.folds", r"1 class with fewer"),
        ({"a": 30, "b": 30}, {"folds": 20, "group": "customer"}, "data.folds", "17 groups are too few for 20 folds"),
    ],
)
def test_what_does_not_go_with_folds_is_refused(write, counts, more, where: str, what: str) -> None:
    path = write(counts)
    with pytest.raises(DataError, match=what) as problem:
        prepare(config(path, **more), path.parent)
    assert where in problem.value.where and problem.value.fix


def test_repeated_rows_are_one_unit_for_the_count_of_a_class(write) -> None:
    path = write({"a": 20, "b": 2}, repeats=10)
    with pytest.raises(DataError, match=r"'b' \(3\)") as problem:
        prepare(config(path), path.parent)
    assert "at most 3 folds" in problem.value.fix
    assert prepare(config(path, folds=3), path.parent).schema.labels == ("a", "b")


def test_a_class_that_one_fold_alone_would_have_is_refused() -> None:
    groups = ("large",) * 15 + ("middle",) * 11 + ("small",)
    values = ["b"] * 25 + ["a", "a"]
    found = fold_of_rows(rows_of(values, groups=groups), "classification", 2, 0)
    assert found[-1] != found[-2]  # although the folds would be of more equal size with both in the smaller
    groups = ("large",) * 20 + ("middle",) * 11 + ("small",) * 6
    values = ["b"] * 20 + ["a"] + ["b"] * 10 + ["a"] + ["b"] * 5
    with pytest.raises(DataError, match="all rows of 'a' come into one fold") as problem:
        fold_of_rows(rows_of(values, groups=groups), "classification", 2, 0)
    assert "another number of folds" in problem.value.fix


def test_splits_of_folds_are_not_written_out(write, tmp_path: Path) -> None:
    path = write({"a": 20, "b": 20})
    made = config(path)
    with pytest.raises(DataError, match="each of the 5 folds"):
        write_splits(made, path.parent, prepare(made, path.parent), tmp_path / "out", "csv")
    assert not (tmp_path / "out").exists()
