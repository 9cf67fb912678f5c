from __future__ import annotations

import numpy as np
import pytest

from tunewise.estimation.sample import some_of, some_rows, times_larger
from tunewise.types import DataBundle, Schema, Split


def split_of(lengths: list[int], name: str = "train") -> Split:
    texts = tuple(("x" * length,) for length in lengths)
    count = len(lengths)
    columns = {"tag": tuple(map(str, range(count)))}
    return Split(name, texts, np.arange(count), np.arange(1, count + 1), "file.csv", columns)


def test_the_longest_and_the_shortest_are_among_them() -> None:
    lengths = np.random.default_rng(1).permutation(np.arange(1, 101)).tolist()
    some = some_rows(split_of(lengths), 10)
    taken = [len(text) for (text,) in some.texts]
    assert len(some) == 10 and max(taken) == 100 and min(taken) == 1
    assert np.mean(taken) == pytest.approx(np.mean(lengths), rel=0.02)
    assert np.diff(sorted(taken)).max() <= 12  # at even distances


def test_targets_rows_and_columns_go_with_their_texts() -> None:
    whole = split_of([5, 9, 1, 7, 3])
    some = some_rows(whole, 3)
    assert some.rows.tolist() == [1, 2, 3]  # of 5, 9 and 1 letters, in the split's order
    for text, target, row, tag in zip(some.texts, some.targets, some.rows, some.columns["tag"], strict=True):
        assert whole.texts[target] == text and row == target + 1 and tag == str(target)


def test_few_rows_stay_as_they_are() -> None:
    whole = split_of([1, 2, 3])
    assert some_rows(whole, 3) is whole and some_rows(whole, 10) is whole


def test_only_the_splits_named_become_smaller() -> None:
    splits = {name: split_of([1, 2, 3, 4], name) for name in ("train", "validation", "test")}
    data = DataBundle(splits, Schema("classification", ("t",), "l", ("a", "b")), (), "f")
    some = some_of(data, {"validation": 2, "test": 1})
    assert {name: len(split) for name, split in some.splits.items()} == {"train": 4, "validation": 2, "test": 1}
    assert some.splits["train"] is splits["train"] and some.schema is data.schema
    assert times_larger(data, some, "validation") == 2
    assert times_larger(data, some, "validation", "test") == 8 / 3
