from __future__ import annotations

import numpy as np
import pytest

from tunewise.engine.course import Course
from tunewise.engine.settings import TrainConfig

LENGTHS = np.random.default_rng(0).integers(3, 60, size=103)


def course(seed: int = 0, lengths: np.ndarray = LENGTHS, **settings: object) -> Course:
    size = {} if "batch_tokens" in settings else {"batch_size": 8}
    return Course(lengths, TrainConfig(**{**size, **settings}), seed)


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


def padded(rows: np.ndarray, lengths: np.ndarray) -> int:
    return len(rows) * int(lengths[rows].max())


@pytest.mark.parametrize("settings", [{}, {"accumulate": 3}, {"group_by_length": False}, {"batch_tokens": 250}])
def test_a_batch_of_far_more_tokens_is_read_in_parts(settings: dict[str, object]) -> None:
    """Of the rows of as many, as near as that goes; batches near the usual one stay whole, as do batches by tokens."""
    lengths = np.concatenate([np.full(100, 10), [900, 41, 39, 40, 30]])
    made, whole = course(lengths=lengths, **settings), course(lengths=lengths, **settings)
    whole._most_tokens = 10**9
    in_parts = 0
    for step in range(made.steps_per_epoch):
        batches, parts = whole.micro_batches(step), made.micro_batches(step)
        assert np.concatenate(parts).tolist() == np.concatenate(batches).tolist() == made.rows(step).tolist()
        in_parts += len(parts) > len(batches)
        for part in parts:
            assert len(part) == 1 or padded(part, lengths) <= made._most_tokens
        for batch in batches:
            if padded(batch, lengths) <= made._most_tokens:
                assert batch.tolist() in [part.tolist() for part in parts]
    assert (in_parts == 0) == ("batch_tokens" in settings)
    largest = np.argsort(lengths)[-8:]
    assert max(map(len, course(lengths=lengths).batches_of(largest))) == 1


def test_parts_are_of_as_many_rows() -> None:
    """Usual batches have 80 tokens, the mean of 11 is 98.2: of 8 x 35, which are more than 2 x 98.2, two parts."""
    made = course(lengths=np.concatenate([np.full(80, 10), np.full(8, 35)]))
    counts = [[len(rows) for rows in made.micro_batches(step)] for step in range(made.steps_per_epoch)]
    assert sorted(counts) == [[4, 4]] + [[8]] * 10


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


# ---------------------------------------------------------------- batches by tokens


def by_tokens(tokens: int = 200, seed: int = 0, **settings: object) -> Course:
    return Course(LENGTHS, TrainConfig(batch_tokens=tokens, **settings), seed)


@pytest.mark.parametrize("accumulate", [1, 3])
def test_every_epoch_of_batches_by_tokens_sees_each_row_once(accumulate: int) -> None:
    made = by_tokens(accumulate=accumulate, epochs=4)
    rows, epoch = [], 0
    for step in range(made.total_steps):
        parts = made.micro_batches(step)
        assert all(len(part) * LENGTHS[part].max() <= 200 for part in parts)
        assert 1 <= len(parts) <= accumulate
        rows += np.concatenate(parts).tolist()
        if made.epoch_of(step + 1) == epoch + 1:
            assert sorted(rows) == list(range(103)) and made.validates(step + 1)
            rows, epoch = [], epoch + 1
    assert (epoch, rows) == (4, [])


def test_steps_are_those_that_come() -> None:
    """Pools of 2,000 rows are drawn anew, so epochs differ in their number of steps."""
    lengths = np.random.default_rng(0).integers(3, 60, size=8000)
    made = Course(lengths, TrainConfig(batch_tokens=500, epochs=6), 0)
    ends = [step for step in range(1, made.total_steps + 1) if made.epoch_of(step).is_integer()]
    counts = np.diff([0, *ends])
    assert len(ends) == 6 and ends[-1] == made.total_steps and len(set(counts)) > 1
    assert made.steps_per_epoch == counts[0]
    assert [step for step in range(1, made.total_steps + 1) if made.validates(step)] == ends
    assert [step for step in range(1, made.total_steps + 1) if made.saves(step, 61.0)] == ends
    assert made.rows_per_step == -(-8000 // counts[0])
    half = Course(lengths, TrainConfig(batch_tokens=500, epochs=1.5), 0)
    assert half.total_steps == round(counts[0] + counts[1] / 2)


def test_any_step_of_batches_by_tokens_can_be_the_first() -> None:
    whole = by_tokens(accumulate=2, epochs=3)
    steps = [[rows.tolist() for rows in whole.micro_batches(step)] for step in range(whole.total_steps)]
    for step in (whole.total_steps - 1, 0, whole.steps_per_epoch, 3):
        fresh = by_tokens(accumulate=2, epochs=3)
        assert [rows.tolist() for rows in fresh.micro_batches(step)] == steps[step]
        assert fresh.epoch_of(step) == whole.epoch_of(step)


@pytest.mark.parametrize("settings", [{"batch_size": 8}, {"batch_tokens": 200}])
@pytest.mark.parametrize("accumulate", [1, 4])
def test_the_largest_batch_of_all_is_in_the_first_step(settings: dict[str, int], accumulate: int) -> None:
    made = Course(LENGTHS, TrainConfig(accumulate=accumulate, **settings), 3)
    sizes = [
        [len(rows) * LENGTHS[rows].max() for rows in made.micro_batches(step)] for step in range(made.steps_per_epoch)
    ]
    assert max(sizes[0]) == max(map(max, sizes))


@pytest.mark.parametrize("settings", [{"batch_size": 8}, {"batch_tokens": 200}])
def test_batches_of_any_rows(settings: dict[str, int]) -> None:
    made = Course(LENGTHS, TrainConfig(**settings), 0)
    rows = np.random.default_rng(2).permutation(103)[:50]
    parts = made.batches_of(rows)
    assert sorted(np.concatenate(parts)) == sorted(rows)
    if "batch_size" in settings:
        by_length = rows[np.argsort(LENGTHS[rows], kind="stable")]
        assert [part.tolist() for part in parts] == [by_length[at : at + 8].tolist() for at in range(0, 50, 8)]
    else:
        assert all(len(part) * LENGTHS[part].max() <= 200 for part in parts)


@pytest.mark.parametrize(
    ("settings", "parts"),
    [({"batch_size": 8}, [4, 2, 1]), ({"batch_size": 7}, [4, 2, 1]), ({"batch_tokens": 4 * 59}, [2, 1])],
)
def test_halved_batches_have_the_rows_of_their_step(settings: dict[str, int], parts: list[int]) -> None:
    made, whole = (Course(LENGTHS, TrainConfig(accumulate=2, **settings), 0) for _ in range(2))
    for most in parts:
        longest = max(made.micro_batches(0), key=lambda rows: (len(rows), LENGTHS[rows].max()))
        assert made.halve(longest) <= most
        for step in range(whole.total_steps):
            assert np.concatenate(made.micro_batches(step)).tolist() == whole.rows(step).tolist()
            assert made.rows(step).tolist() == whole.rows(step).tolist()
        if "batch_size" in settings:
            assert max(map(len, made.micro_batches(0))) == most
    assert whole.total_steps == made.total_steps and whole.halvings == 0


def test_few_rows_are_cut_up_however_large_batches_may_be() -> None:
    """Three rows in batches of at most 64: five halvings before they are in two."""
    made = Course(LENGTHS[:3], TrainConfig(batch_size=64), 0)
    assert made.halve(np.arange(3)) == 2 and made.halvings == 5
    assert made.halve(np.arange(2)) == 1 and made.halvings == 6


def test_an_epoch_is_made_once(monkeypatch: pytest.MonkeyPatch) -> None:
    from tunewise.engine import course as room

    asked: list[int] = []
    real = room.epoch_steps
    monkeypatch.setattr(room, "epoch_steps", lambda *a, **k: (asked.append(k["epoch"]), real(*a, **k))[1])
    made = course(accumulate=2, epochs=2)
    for step in range(made.total_steps):
        made.micro_batches(step), made.rows(step), made.validates(step + 1), made.epoch_of(step + 1)
    assert asked == [0, 1]


def test_one_way_to_say_how_large_batches_are() -> None:
    for wrong in (
        {"batch_size": 16, "batch_tokens": 100},
        {"batch_tokens": 100, "group_by_length": False},
        {"batch_tokens": 100, "balanced_batches": True},
    ):
        with pytest.raises(ValueError, match="batch_tokens"):
            TrainConfig(**wrong)


# ---------------------------------------------------------------- balanced batches

CLASSES = np.repeat([0, 1, 2, 3], [70, 20, 10, 3])


def balanced(seed: int = 0, **settings: object) -> Course:
    config = TrainConfig(**{"batch_size": 8, "balanced_batches": True, **settings})
    return Course(LENGTHS, config, seed, CLASSES)


@pytest.mark.parametrize(
    ("settings", "per_epoch", "total"),
    [
        ({}, 35, 105),
        ({"epochs": 1.5}, 35, 52),
        ({"accumulate": 3}, 12, 36),
        ({"batch_size": 500}, 1, 3),
        ({"max_steps": 40}, 35, 40),
    ],
)
def test_steps_of_balanced_batches(settings: dict[str, object], per_epoch: int, total: int) -> None:
    """4 classes, of which the largest has 70 rows: 280 rows an epoch."""
    made = balanced(**settings)
    assert (made.rows_per_epoch, made.steps_per_epoch, made.total_steps) == (280, per_epoch, total)
    read = [made.rows(step) for step in range(per_epoch)]
    assert sum(map(len, read)) == 280 and set(np.concatenate(read)) == set(range(103))
    assert made.validates(per_epoch) and made.epoch_of(per_epoch) == 1.0
    assert course().rows_per_epoch == 103


def test_any_step_of_balanced_batches_can_be_the_first() -> None:
    whole = balanced(seed=5, accumulate=2)
    steps = [[rows.tolist() for rows in whole.micro_batches(step)] for step in range(whole.total_steps)]
    for step in (whole.total_steps - 1, 0, whole.steps_per_epoch, 20):
        assert [rows.tolist() for rows in balanced(seed=5, accumulate=2).micro_batches(step)] == steps[step]
    assert balanced(seed=6).rows(0).tolist() != balanced(seed=5).rows(0).tolist()


def test_halved_balanced_batches_have_the_rows_of_their_step() -> None:
    made, whole = balanced(accumulate=2), balanced(accumulate=2)
    assert made.halve(made.micro_batches(0)[0]) == 4
    for step in range(whole.total_steps):
        assert np.concatenate(made.micro_batches(step)).tolist() == whole.rows(step).tolist()
