"""As many training rows of each class, by repeating or leaving out: after the splits, and nowhere else."""

from __future__ import annotations

import csv
import json
from collections import Counter
from pathlib import Path

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from tunewise.data.balance import draw_over
from tunewise.data.prepare import prepare
from tunewise.data.settings import DataConfig
from tunewise.data.split import draw_per_class
from tunewise.errors import DataError
from tunewise.types import DataBundle

ROWS = [(f"ham number {n}", "ham") for n in range(80)] + [(f"spam number {n}", "spam") for n in range(15)]
ROWS += [(f"odd number {n}", "odd") for n in range(31)]
CLASSES = ("ham", "odd", "spam")


def bundle(folder: Path, rows: list | None = None, **options) -> DataBundle:
    with (folder / "t.csv").open("w", newline="", encoding="utf-8") as file:
        csv.writer(file).writerows([("text", "label"), *(ROWS if rows is None else rows)])
    return prepare(DataConfig(train="t.csv", label="label", text="text", **options), folder)


def numbers_of(data: DataBundle, name: str) -> list[int]:
    return data.splits[name].rows.tolist()


def counts_of(data: DataBundle) -> list[int]:
    return np.bincount(data.splits["train"].targets).tolist()


def test_over_repeats_rows_until_all_classes_have_as_many(tmp_path):
    whole, over = bundle(tmp_path), bundle(tmp_path, balance="over")
    had = dict(zip(CLASSES, counts_of(whole), strict=True))
    assert counts_of(over) == [had["ham"]] * 3
    train = over.splits["train"]
    for text, target, number in zip(train.texts, train.targets, train.rows, strict=True):
        assert (*text, CLASSES[target]) == ROWS[number - 1]  # a row keeps its number, so that errors name the right one
    times = Counter(train.rows.tolist())
    assert set(times) == set(numbers_of(whole, "train"))  # none is left out
    for name, count in had.items():
        each = {times[number] for number in numbers_of(whole, "train") if ROWS[number - 1][1] == name}
        assert each <= {had["ham"] // count, had["ham"] // count + 1}
    assert {times[number] for number in times if ROWS[number - 1][1] == "ham"} == {1}


def test_under_keeps_as_many_as_the_smallest_class_has(tmp_path):
    whole, under = bundle(tmp_path), bundle(tmp_path, balance="under")
    assert counts_of(under) == [min(counts_of(whole))] * 3
    kept = numbers_of(under, "train")
    assert len(set(kept)) == len(kept) and set(kept) < set(numbers_of(whole, "train"))
    assert under.splits["train"].texts == bundle(tmp_path, per_class=min(counts_of(whole))).splits["train"].texts


@pytest.mark.parametrize("how", ["over", "under"])
def test_validation_and_test_stay_as_they_are_and_share_no_row_with_train(tmp_path, how):
    whole, balanced = bundle(tmp_path), bundle(tmp_path, balance=how)
    for name in ("validation", "test"):
        assert balanced.splits[name].texts == whole.splits[name].texts
        assert np.array_equal(balanced.splits[name].targets, whole.splits[name].targets)
        assert numbers_of(balanced, name) == numbers_of(whole, name)
        assert not set(balanced.splits[name].texts) & set(balanced.splits["train"].texts)
    assert not [step for step in balanced.steps if step.name == "overlap"]


@pytest.mark.parametrize("how", ["over", "under"])
def test_what_was_done_is_told_with_counts(tmp_path, how):
    whole, balanced = bundle(tmp_path), bundle(tmp_path, balance=how)
    (step,) = [step for step in balanced.steps if step.name == f"balance: {how}"]
    assert (step.rows_in, step.rows_out) == (len(whole.splits["train"]), len(balanced.splits["train"]))
    ham, odd, spam = counts_of(whole)
    each = ham if how == "over" else spam
    assert step.reason.startswith(f"{each} training rows of each class, by data.balance: rows of the ")
    assert step.reason.endswith(f"Before: 'ham' {ham}, 'odd' {odd}, 'spam' {spam}")
    assert not [step for step in whole.steps if step.name.startswith("balance")]


def test_many_classes_are_not_all_told(tmp_path):
    rows = [(f"text {n}", f"class {n % 14:02}") for n in range(200)]
    (step,) = [step for step in bundle(tmp_path, rows, balance="under").steps if step.name.startswith("balance")]
    assert step.reason.endswith("and 2 more classes") and "'class 11'" in step.reason and "12" not in step.reason


@pytest.mark.parametrize("how", ["over", "under"])
def test_split_seed_decides(tmp_path, how):
    one, again = (bundle(tmp_path, balance=how) for _ in range(2))
    assert one.fingerprint == again.fingerprint
    given_ = {"validation": "t.csv", "test": "t.csv"}  # the splits are the same, so that only the drawing differs
    drawn = [numbers_of(bundle(tmp_path, balance=how, split_seed=seed, **given_), "train") for seed in (0, 0, 1)]
    assert drawn[0] == drawn[1] != drawn[2]


def test_balance_comes_after_per_class(tmp_path):
    both = bundle(tmp_path, per_class=20, balance="over")
    assert counts_of(bundle(tmp_path, per_class=20)) == [20, 20, 10]
    assert counts_of(both) == [20, 20, 20]
    assert [step.name for step in both.steps][-2:] == ["per class", "balance: over"]


def test_what_is_balanced_stays_so(tmp_path):
    rows = [row for row in ROWS if row[1] != "odd"][65:]
    given_ = {"validation": "t.csv", "test": "t.csv"}
    for how in ("over", "under"):
        assert bundle(tmp_path, rows, balance=how, **given_).fingerprint == bundle(tmp_path, rows, **given_).fingerprint


def test_only_for_classes(tmp_path):
    with pytest.raises(DataError, match="balance is for classification; the task is regression") as caught:
        bundle(tmp_path, [(f"text {n}", str(n / 7)) for n in range(60)], balance="over")
    assert (caught.value.where, caught.value.fix) == ("data.balance", "leave it out")
    lines = [json.dumps({"text": f"t {n}", "tags": ["x", "y", "z"][: n % 4]}) for n in range(40)]
    (tmp_path / "m.jsonl").write_text("\n".join(lines))
    with pytest.raises(DataError, match="the task is multilabel") as caught:
        prepare(DataConfig(train="m.jsonl", label="tags", balance="under"), tmp_path)
    assert "objective.class_weights" in caught.value.fix


@pytest.mark.parametrize("wrong", ["both", True, 1])
def test_values_that_it_cannot_have(wrong):
    with pytest.raises(ValueError, match="balance"):
        DataConfig(train="t.csv", balance=wrong)


@settings(deadline=2000)
@given(st.lists(st.tuples(st.sampled_from("abc"), st.text(max_size=2)), min_size=1, max_size=40), st.integers(0, 3))
def test_any_rows_are_repeated_evenly_and_those_of_other_texts_whatever_their_order(rows, seed):
    values, texts = [value for value, _ in rows], [(text,) for _, text in rows]
    places = draw_over(values, texts, seed)
    counts, times = Counter(values), Counter(places.tolist())
    assert places.tolist() == sorted(places) and set(times) == set(range(len(rows)))
    assert set(Counter(values[place] for place in places).values()) == {max(counts.values())}
    for value in counts:
        each = [times[place] for place in times if values[place] == value]
        assert max(each) - min(each) <= 1
    if len(set(texts)) == len(texts):
        backwards = draw_over(values[::-1], texts[::-1], seed)
        assert Counter(rows[place] for place in places) == Counter(rows[::-1][place] for place in backwards)
    fewest = min(counts.values())
    under = draw_per_class(values, texts, fewest, seed)
    assert set(Counter(values[place] for place in under).values()) == {fewest}
