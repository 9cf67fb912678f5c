"""The split is a partition, keeps proportions as scikit-learn's does, and depends on content and seed alone."""

from __future__ import annotations

import hashlib
import os
import random
import subprocess
import sys
from collections import Counter

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from sklearn.model_selection import train_test_split

from tunewise.data.split import _allocate, assign, draw, find_strata

SHARES = {"test": 0.2, "validation": 0.15}


def texts_of(count: int) -> list[tuple[str, ...]]:
    return [(f"text {number}",) for number in range(count)]


def skewed(count: int, seed: int = 0) -> list[str]:
    return random.Random(seed).choices(["a", "b", "c", "d"], weights=[70, 20, 8, 2], k=count)


def test_proportions_are_within_one_row_of_the_share_and_of_scikit_learn():
    labels = skewed(1000)
    places = assign(texts_of(1000), labels, "classification", SHARES, seed=0)
    assert {name: len(rows) for name, rows in places.items()} == {"train": 650, "test": 200, "validation": 150}
    _, reference = train_test_split(labels, test_size=0.2, stratify=labels, random_state=0)
    counts, theirs = Counter(labels[place] for place in places["test"]), Counter(reference)
    for name, total in Counter(labels).items():
        assert abs(counts[name] - total * 0.2) < 1
        assert abs(counts[name] - theirs[name]) <= 1


def test_what_is_left_over_goes_to_the_class_with_the_largest_remainder():
    labels = ["a"] * 7 + ["b"] * 3  # a fifth is 1.4 and 0.6 rows, 2 in all
    test = assign(texts_of(10), labels, "classification", {"test": 0.2}, 0)["test"]
    assert Counter(labels[place] for place in test) == {"a": 1, "b": 1}


def test_other_seed_other_rows_same_seed_same_rows():
    labels = skewed(300)
    first, again, other = (assign(texts_of(300), labels, "classification", SHARES, seed) for seed in (0, 0, 1))
    assert all(np.array_equal(first[name], again[name]) for name in first)
    assert len(set(first["test"]) & set(other["test"])) < 30  # 12 expected of 60


def test_the_order_of_the_file_does_not_matter():
    texts, labels = texts_of(200), skewed(200)
    order = random.Random(1).sample(range(200), 200)
    straight = assign(texts, labels, "classification", SHARES, 0)
    mixed = assign([texts[i] for i in order], [labels[i] for i in order], "classification", SHARES, 0)
    for name in straight:
        assert {texts[place] for place in straight[name]} == {texts[order[place]] for place in mixed[name]}


def test_known_rows_in_another_process_with_another_hash_seed():
    code = (
        "from tunewise.data.split import assign, draw\n"
        "texts = [(f'text {n}',) for n in range(40)]; labels = [('a', 'b')[n % 2] for n in range(40)]\n"
        "print(assign(texts, labels, 'classification', {'test': 0.2}, 0)['test'].tolist())\n"
        "print(draw(labels, texts, 'classification', 6, 0).tolist())"
    )
    answers = {
        subprocess.run(
            [sys.executable, "-c", code], env={**os.environ, "PYTHONHASHSEED": seed}, capture_output=True, check=True
        ).stdout
        for seed in ("1", "2")
    }
    texts, labels = texts_of(40), [("a", "b")[number % 2] for number in range(40)]
    here = assign(texts, labels, "classification", {"test": 0.2}, 0)["test"].tolist()
    drawn = draw(labels, texts, "classification", 6, 0).tolist()
    assert answers == {f"{here}\n{drawn}\n".encode()}


def test_equal_texts_stay_together():
    texts = [(f"text {number % 60}",) for number in range(180)]
    labels = [("a", "b")[number % 60 % 2] for number in range(180)]
    places = assign(texts, labels, "classification", SHARES, 0)
    sides = [{texts[place] for place in rows} for rows in places.values()]
    assert sum(map(len, sides)) == 60
    assert len(places["test"]) == 36


def test_a_class_of_one_row_stays_in_train():
    labels = ["a"] * 20 + ["b"] * 20 + ["c"]
    for seed in range(20):
        assert 40 in assign(texts_of(41), labels, "classification", SHARES, seed)["train"]


def test_a_class_whose_texts_are_those_of_another_is_not_lost():
    texts, labels = texts_of(30), ["a"] * 30
    texts, labels = texts + texts[:1], [*labels, "rare"]
    for seed in range(40):
        places = assign(texts, labels, "classification", {"test": 0.5}, seed)
        assert 30 in places["train"]


def test_quantiles_of_numbers_keep_their_share():
    values = [float(number**2) for number in range(1000)]
    assert np.bincount(find_strata(values, "regression")).tolist() == [100] * 10
    test = assign(texts_of(1000), values, "regression", SHARES, 0)["test"]
    assert np.histogram(test, bins=10, range=(0, 1000))[0].tolist() == [20] * 10
    assert find_strata([1.0] * 50, "regression").tolist() == [0] * 50
    assert len(set(find_strata([0.0] * 90 + [1.0] * 10, "regression"))) == 2


def test_label_sets_are_strata_and_rare_ones_are_pooled_by_their_rarest_label():
    values = [("a",)] * 10 + [("a", "b")] * 5 + [("b", "a")] * 5 + [("a", "c"), ("b", "c"), ("c",)] + [()] * 7
    strata = find_strata(values, "multilabel")
    assert len(set(strata)) == 4
    assert len(set(strata[10:20])) == 1
    assert len(set(strata[20:23])) == 1


@settings(max_examples=60, deadline=None)
@given(
    rows=st.lists(st.tuples(st.integers(0, 30), st.sets(st.sampled_from("abcd"), max_size=3)), min_size=1, max_size=80),
    kind=st.sampled_from(["classification", "multilabel", "regression"]),
    seed=st.integers(0, 3),
    share=st.floats(0.01, 0.6),
)
def test_any_split_is_a_partition_with_every_label_in_train(rows, kind, seed, share):
    texts = [(f"t{number}",) for number, _ in rows]
    sets = [tuple(sorted(names)) for _, names in rows]
    values = {
        "classification": ["".join(names) for names in sets],
        "multilabel": sets,
        "regression": [len(names) / 2 for names in sets],
    }[kind]
    places = assign(texts, values, kind, {"test": share, "validation": 0.3}, seed)
    assert sorted(np.concatenate(list(places.values())).tolist()) == list(range(len(rows)))
    assert sum(len({texts[place] for place in part}) for part in places.values()) == len(set(texts))
    assert len(places["train"]) > 0
    if kind != "regression":
        held = [set(value) if kind == "multilabel" else {value} for value in values]
        assert set().union(*(held[place] for place in places["train"])) == set().union(*held)


@settings(max_examples=40, deadline=None)
@given(
    labels=st.lists(st.sampled_from("abcdef"), min_size=1, max_size=60),
    count=st.integers(1, 70),
    seed=st.integers(0, 3),
)
def test_a_draw_has_its_count_and_every_class_that_fits(labels, count, seed):
    texts = [("same",)] * len(labels)
    places = draw(labels, texts, "classification", count, seed)
    assert len(set(places.tolist())) == min(count, len(labels))
    if count >= len(set(labels)):
        assert {labels[place] for place in places} == set(labels)


@pytest.mark.parametrize("count", [50, 200])
def test_a_draw_keeps_proportions(count):
    labels = skewed(1000)
    counts = Counter(labels[place] for place in draw(labels, texts_of(1000), "classification", count, 0))
    for name, total in Counter(labels).items():
        assert abs(counts[name] - total * count / 1000) < 1


# ---------------------------------------------------------------- row by row


def assign_unit_by_unit(
    texts: list[tuple[str, ...]], names: list[tuple[str, ...]], shares: dict[str, float], seed: int
) -> dict[str, list[int]]:
    """The split as its rules are told: groups of equal texts in the order of their hashes, one after the other."""
    strata = [sorted(set(names)).index(name) for name in names]
    groups: dict[tuple[str, ...], list[int]] = {}
    for place, text in enumerate(texts):
        groups.setdefault(text, []).append(place)

    def key(text: tuple[str, ...]) -> bytes:
        parts = [len(part.encode()).to_bytes(8, "little") + part.encode() for part in text]
        return hashlib.sha256(str(seed).encode() + b"".join(parts)).digest()

    units = [groups[text] for text in sorted(groups, key=key)]
    stratum = [min(strata[place] for place in places) for places in units]
    sizes = np.zeros(max(strata) + 1, dtype=np.int64)
    for number, places in enumerate(units):
        sizes[stratum[number]] += len(places)
    room, taken = np.maximum(sizes - 1, 0), {}
    for name, share in shares.items():
        quota = _allocate(sizes, share, room)
        for number, places in enumerate(units):
            if number not in taken and len(places) <= quota[stratum[number]]:
                taken[number] = name
                quota[stratum[number]] -= len(places)
                room[stratum[number]] -= len(places)
    held = [{label for place in places for label in names[place]} for places in units]
    kept = {label for number, labels in enumerate(held) if number not in taken for label in labels}
    for number in sorted(taken):
        if held[number] - kept:
            del taken[number]
            kept |= held[number]
    found: dict[str, list[int]] = {"train": [], **{name: [] for name in shares}}
    for number, places in enumerate(units):
        found[taken.get(number, "train")] += places
    return {name: sorted(places) for name, places in found.items()}


@pytest.mark.parametrize("vocabulary", [3, 20, 1000])
@pytest.mark.parametrize("several", [False, True])
def test_the_split_is_the_one_made_unit_by_unit(several: bool, vocabulary: int):
    generator = random.Random(vocabulary)
    for seed in range(60):
        count = generator.randrange(4, 100)
        texts = [(f"text {generator.randrange(vocabulary)}",) for _ in range(count)]
        if several:  # as many rows of each combination as make it a stratum of its own
            combinations = [("a",), ("a", "b"), ("c",)]
            names = [combinations[place % 3] for place in range(max(15, count))]
            texts = [texts[place % count] for place in range(len(names))]
            places = assign(texts, names, "multilabel", SHARES, seed)
        else:
            names = [(generator.choice("abcde"),) for _ in range(count)]
            places = assign(texts, [name for (name,) in names], "classification", SHARES, seed)
        expected = assign_unit_by_unit(texts, names, SHARES, seed)
        assert {name: rows.tolist() for name, rows in places.items()} == expected
        assert all(rows.dtype == np.int64 for rows in places.values())
