from __future__ import annotations

import numpy as np
import pytest

from tunewise.engine.course import Course
from tunewise.engine.settings import TrainConfig

LENGTHS = np.random.default_rng(0).integers(3, 60, size=103)


def course(seed: int = 0, lengths: np.ndarray = LENGTHS, **settings: object) -> Course:
    return Course(lengths, TrainConfig(**{"batch_size": 8, **settings}), seed)


@pytest.mark.parametrize(
    ("settings", "per_epoch", "total"),
    [
        ({}, 13, 39),
        ({"epochs": 2}, 13, 26),
        ({"epochs": 0.5}, 13, 6),
        ({"epochs": 1.5}, 13, 20),
        ({"epochs": 0.001}, 13, 1),
        ({"max_steps": 5}, 13, 5),
        ({"max_steps": 100}, 13, 100),
        ({"accumulate": 4, "epochs": 1}, 4, 4),
        ({"batch_size": 200, "epochs": 3}, 1, 3),
    ],
)
def test_steps(settings: dict[str, object], per_epoch: int, total: int) -> None:
    made = course(**settings)
    assert (made.steps_per_epoch, made.total_steps) == (per_epoch, total)


@pytest.mark.parametrize("group_by_length", [True, False])
@pytest.mark.parametrize("accumulate", [1, 3])
def test_every_epoch_sees_each_row_once(group_by_length: bool, accumulate: int) -> None:
    made = course(group_by_length=group_by_length, accumulate=accumulate)
    orders = []
    for epoch in range(3):
        steps = range(epoch * made.steps_per_epoch, (epoch + 1) * made.steps_per_epoch)
        rows = np.concatenate([made.rows(step) for step in steps])
        assert sorted(rows) == list(range(103))
        orders.append(rows.tolist())
    assert orders[0] != orders[1] != orders[2]


def test_any_step_can_be_the_first() -> None:
    whole = course(seed=5)
    rows = [whole.rows(step).tolist() for step in range(whole.total_steps)]
    for step in (38, 0, 20, 13, 12):
        assert course(seed=5).rows(step).tolist() == rows[step]
    assert course(seed=6).rows(0).tolist() != rows[0]


def test_micro_batches_are_the_rows_of_the_step_in_order() -> None:
    made = course(accumulate=4)
    for step in range(made.steps_per_epoch):
        parts = made.micro_batches(step)
        assert np.concatenate(parts).tolist() == made.rows(step).tolist()
        assert all(len(part) == 8 for part in parts[:-1])
    assert sorted(len(made.rows(step)) for step in range(4)) == [7, 32, 32, 32]


def test_when_to_validate() -> None:
    each_epoch = course(epochs=2.5)
    assert [step for step in range(1, 40) if each_epoch.validates(step)] == [13, 26, 32, 39]
    assert each_epoch.total_steps == 32
    often = course(evaluate_every=5, max_steps=12)
    assert [step for step in range(1, 13) if often.validates(step)] == [5, 10, 12]


def test_when_to_save() -> None:
    timed = course(epochs=1.5)
    assert [step for step in range(1, 21) if timed.saves(step, 61.0)] == [13, 20]
    assert not any(timed.saves(step, 59.0) for step in range(1, 21))
    counted = course(save_steps=7)
    assert [step for step in range(1, 22) if counted.saves(step, 0.0)] == [7, 14, 21]
