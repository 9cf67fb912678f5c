"""Steps in which every class comes equally often, and an epoch that misses no row."""

from __future__ import annotations

from collections import Counter

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from tunewise.data.balanced_batches import balanced_rows, balanced_steps
from tunewise.data.batches import BatchSize

CLASSES = np.random.default_rng(0).choice([0, 2, 3, 7], p=[0.7, 0.2, 0.09, 0.01], size=1000)  # 1, 4, 5, 6 have no rows
LENGTHS = np.random.default_rng(1).integers(2, 200, size=1000)


def steps_of(size: BatchSize, classes: np.ndarray = CLASSES, **changes: object) -> list[np.ndarray]:
    how = {"seed": 1, "epoch": 1, "group_by_length": False, **changes}
    return balanced_steps(LENGTHS[: len(classes)], classes, size, **how)


@pytest.mark.parametrize("group", [True, False])
@pytest.mark.parametrize("epoch", [0, 1])
@pytest.mark.parametrize(
    "size", [BatchSize(1), BatchSize(3), BatchSize(16), BatchSize(8, accumulate=4), BatchSize(5000)]
)
def test_classes_come_equally_often_in_each_step_and_in_all(size: BatchSize, epoch: int, group: bool) -> None:
    steps = steps_of(size, epoch=epoch, group_by_length=group)
    for step in steps:
        counts = [np.count_nonzero(CLASSES[step] == name) for name in (0, 2, 3, 7)]
        assert max(counts) - min(counts) <= 1
    most = np.count_nonzero(CLASSES == 0)
    rows = np.concatenate(steps)
    assert np.unique(CLASSES[rows], return_counts=True)[1].tolist() == [most] * 4
    assert len(rows) == balanced_rows(CLASSES) == 4 * most
    step_rows = size.rows * size.accumulate
    assert sorted(map(len, steps), reverse=True)[:-1] == [min(step_rows, len(rows))] * (len(steps) - 1)
    assert len(steps) == -(-len(rows) // step_rows)


def test_every_row_is_read_and_those_of_a_class_equally_often() -> None:
    times = Counter(np.concatenate(steps_of(BatchSize(16))).tolist())
    assert set(times) == set(range(1000))
    for name in (0, 2, 3, 7):
        each = {times[row] for row in np.flatnonzero(name == CLASSES).tolist()}
        assert max(each) - min(each) <= 1
        if name == 0:
            assert each == {1}


def test_a_row_comes_again_when_all_of_its_class_were_there() -> None:
    rows = np.concatenate(steps_of(BatchSize(16)))
    for name in (2, 3, 7):
        of_class, count = rows[CLASSES[rows] == name], np.count_nonzero(name == CLASSES)
        for start in range(0, len(of_class) - count + 1, count):
            assert len(set(of_class[start : start + count])) == count


def test_seed_and_epoch_decide() -> None:
    def order(**given_: int) -> tuple[int, ...]:
        return tuple(np.concatenate(steps_of(BatchSize(16), **given_)).tolist())

    assert order(seed=1, epoch=2) == order(seed=1, epoch=2)
    assert len({order(seed=seed, epoch=epoch) for seed in range(3) for epoch in range(3)}) == 9
    times = [Counter(order(seed=1, epoch=epoch)) for epoch in range(2)]
    assert times[0] != times[1]  # other rows are read once more


def test_classes_meet_others_where_a_step_has_not_all_of_them() -> None:
    classes = np.arange(1000) % 20
    together = Counter(
        (first, second)
        for step in steps_of(BatchSize(6), classes)
        for first in classes[step].tolist()
        for second in classes[step].tolist()
        if first < second
    )
    assert len(together) == 20 * 19 / 2  # every pair of classes


def test_the_batches_of_a_step_have_similar_lengths_where_grouped() -> None:
    size = BatchSize(8, accumulate=4)
    grouped, plain = (steps_of(size, group_by_length=group) for group in (True, False))
    assert [sorted(step.tolist()) for step in grouped] == [sorted(step.tolist()) for step in plain]
    for step in grouped:
        assert (np.diff(LENGTHS[step]) >= 0).all()


@pytest.mark.parametrize("group", [True, False])
def test_the_largest_batch_runs_in_the_first_step(group: bool) -> None:
    size = BatchSize(8, accumulate=2)
    steps = steps_of(size, epoch=0, group_by_length=group)
    largest = [size.most_padded(step, LENGTHS) for step in steps]
    assert largest[0] == max(largest)
    others = steps_of(size, epoch=0, group_by_length=not group)
    assert {tuple(sorted(step)) for step in steps} == {tuple(sorted(step)) for step in others}


@settings(deadline=2000)
@given(
    st.lists(st.integers(-2, 5), min_size=1, max_size=60),
    st.integers(1, 70),
    st.integers(1, 3),
    st.integers(0, 2),
    st.booleans(),
)
def test_any_classes(classes: list[int], rows: int, accumulate: int, epoch: int, group: bool) -> None:
    classes = np.array(classes)
    steps = steps_of(BatchSize(rows, accumulate=accumulate), classes, epoch=epoch, group_by_length=group)
    names, counts = np.unique(classes, return_counts=True)
    found = np.concatenate(steps)
    assert set(found.tolist()) == set(range(len(classes)))
    assert np.unique(classes[found], return_counts=True)[1].tolist() == [counts.max()] * len(names)
    for step in steps:
        in_step = [np.count_nonzero(classes[step] == name) for name in names]
        assert max(in_step) - min(in_step) <= 1
