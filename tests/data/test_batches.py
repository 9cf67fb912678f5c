from __future__ import annotations

from types import SimpleNamespace

import numpy as np
import pytest

from tunewise.data.batches import (
    POOL_ROWS,
    TOKENS_PER_ROW,
    TOKENS_PER_ROW_ON_A_CPU,
    BatchSize,
    epoch_steps,
    padded_tokens,
    pass_batches,
    rows_at_once,
    sorted_batches,
    written_batches,
)

LENGTHS = np.random.default_rng(0).integers(2, 200, size=1003)
# As the lengths of short messages are: most near 12 tokens, a long tail.
MESSAGES = np.clip(np.random.default_rng(1).lognormal(2.6, 0.5, size=9000), 3, 128).astype(np.int64)


def share_of_padding(batches: list[np.ndarray], lengths: np.ndarray) -> float:
    return 1 - lengths.sum() / sum(len(rows) * max(lengths[row] for row in rows) for rows in batches)


@pytest.mark.parametrize("group", [True, False])
@pytest.mark.parametrize("size", [1, 7, 16, 1003, 5000])
def test_every_row_once(group: bool, size: int) -> None:
    batches = epoch_steps(LENGTHS, BatchSize(size), seed=1, epoch=0, group_by_length=group)
    assert sorted(np.concatenate(batches)) == list(range(1003))
    assert sorted(map(len, batches), reverse=True)[:-1] == [min(size, 1003)] * (len(batches) - 1)
    assert len(batches) == -(-1003 // size)


@pytest.mark.parametrize("count", [1, 1999, 2000, 3999, 4000, 9001])
def test_every_row_once_whatever_the_pools(count: int) -> None:
    batches = epoch_steps(MESSAGES[:count], BatchSize(32), seed=1, epoch=1, group_by_length=True)
    assert sorted(np.concatenate(batches)) == list(range(min(count, 9000)))
    assert len(batches) == -(-min(count, 9000) // 32)


def test_seed_and_epoch_decide() -> None:
    def order(**given: int) -> list[int]:
        return np.concatenate(epoch_steps(LENGTHS, BatchSize(16), group_by_length=True, **given)).tolist()

    assert order(seed=1, epoch=2) == order(seed=1, epoch=2)
    assert len({tuple(order(seed=seed, epoch=epoch)) for seed in range(3) for epoch in range(3)}) == 9


@pytest.mark.parametrize("size", [8, 16, 32])
def test_grouping_leaves_little_padding_and_mixes_batches(size: int) -> None:
    for epoch in range(2):
        grouped = epoch_steps(MESSAGES, BatchSize(size), seed=0, epoch=epoch, group_by_length=True)
        plain = epoch_steps(MESSAGES, BatchSize(size), seed=0, epoch=epoch, group_by_length=False)
        assert share_of_padding(grouped, MESSAGES) < 0.05 < 0.4 < share_of_padding(plain, MESSAGES)
        # Batches are in random order, not from short to long.
        means = [MESSAGES[rows].mean() for rows in grouped]
        assert abs(np.corrcoef(means, range(len(means)))[0, 1]) < 0.3


def test_rows_meet_others_in_the_next_epoch() -> None:
    def together(epoch: int) -> set[tuple[int, int]]:
        batches = epoch_steps(MESSAGES, BatchSize(8), seed=0, epoch=epoch, group_by_length=True)
        return {(first, second) for rows in batches for first in rows for second in rows if first < second}

    assert len(together(0) & together(1)) < len(together(0)) / 20


def test_grouping_is_within_pools() -> None:
    """Rows of a pool, drawn at random, are sorted: no batch holds rows of two pools."""
    batches = epoch_steps(MESSAGES, BatchSize(16), seed=3, epoch=1, group_by_length=True)
    order = np.random.default_rng([3, 1]).permutation(len(MESSAGES))
    assert len(MESSAGES) // POOL_ROWS == 4 and 9000 / 4 == 2250
    pool_of = {row: place // 2256 for place, row in enumerate(order)}  # whole batches: 141 of 16
    assert all(len({pool_of[row] for row in rows}) == 1 for rows in batches)


@pytest.mark.parametrize("tokens", [1, 100, 1000, 10**6])
def test_batches_by_tokens(tokens: int) -> None:
    for epoch in range(2):
        batches = epoch_steps(MESSAGES, BatchSize(16, tokens), seed=0, epoch=epoch, group_by_length=True)
        assert sorted(np.concatenate(batches)) == list(range(9000))
        assert all(len(rows) == 1 or padded_tokens(rows, MESSAGES) <= tokens for rows in batches)
    if tokens == 1000:
        assert share_of_padding(batches, MESSAGES) < 0.02
        assert np.mean([padded_tokens(rows, MESSAGES) for rows in batches]) > 900


@pytest.mark.parametrize(
    ("size", "group"),
    [
        (BatchSize(16), True),
        (BatchSize(16), False),
        (BatchSize(4, accumulate=4), True),
        (BatchSize(4, accumulate=4), False),
        (BatchSize(16, 300), True),
        (BatchSize(16, 300, 3), True),
    ],
)
def test_the_largest_batch_runs_in_the_first_step(size: BatchSize, group: bool) -> None:
    def largest(step: np.ndarray) -> int:
        return max(len(rows) * LENGTHS[rows].max() for rows in size.batches(step, LENGTHS))

    runs = [epoch_steps(LENGTHS, size, seed=seed, epoch=0, group_by_length=group) for seed in range(5)]
    assert all(largest(run[0]) == max(map(largest, run)) for run in runs)
    later = [epoch_steps(LENGTHS, size, seed=seed, epoch=1, group_by_length=group) for seed in range(5)]
    assert any(largest(run[0]) < max(map(largest, run)) for run in later)


def test_accumulated_batches_are_the_rows_of_a_large_one() -> None:
    def steps(size: BatchSize) -> list[list[int]]:
        return [sorted(rows) for rows in epoch_steps(LENGTHS, size, seed=0, epoch=1, group_by_length=True)]

    assert steps(BatchSize(4, accumulate=4)) == steps(BatchSize(16))


@pytest.mark.parametrize("accumulate", [1, 2, 5])
def test_a_step_is_so_many_batches_by_tokens(accumulate: int) -> None:
    size = BatchSize(16, 1000, accumulate)
    steps = epoch_steps(MESSAGES, size, seed=0, epoch=1, group_by_length=True)
    counts = [len(size.batches(step, MESSAGES)) for step in steps]
    assert max(counts) == accumulate and np.mean(counts) > 0.7 * accumulate
    for step in steps:
        assert all(padded_tokens(rows, MESSAGES) <= 1000 for rows in size.batches(step, MESSAGES))


def test_the_largest_batch_changes_places_with_the_first() -> None:
    lengths = np.array([5, 9, 2, 7, 1, 8])
    order = np.random.default_rng([4, 0]).permutation(6)
    expected = [order[start : start + 2].tolist() for start in (0, 2, 4)]
    longest = max(range(3), key=lambda place: max(lengths[row] for row in expected[place]))
    expected[0], expected[longest] = expected[longest], expected[0]
    batches = epoch_steps(lengths, BatchSize(2), seed=4, epoch=0, group_by_length=False)
    assert [rows.tolist() for rows in batches] == expected


def test_sorted_batches_begin_with_the_longest() -> None:
    batches = sorted_batches(np.array([3, 9, 5, 9, 1]), 2)  # at most 2 x 9 tokens
    assert [rows.tolist() for rows in batches] == [[1, 3], [2, 0, 4]]
    assert sorted_batches(np.array([], dtype=np.int64), 2) == []
    assert [rows.tolist() for rows in sorted_batches(np.ones(5, dtype=np.int64), 2)] == [[0, 1], [2, 3], [4]]


@pytest.mark.parametrize("length", [1, 40, 128, 129, 784, 9000])
def test_rows_at_once_are_those_of_a_batch_of_rows_of_one_length(length: int) -> None:
    batches = sorted_batches(np.full(100, length), 32)
    assert {len(rows) for rows in batches[:-1]} == {rows_at_once(length, 32)}


def test_sorted_batches_are_few_and_hold_little_padding() -> None:
    batches = sorted_batches(MESSAGES, 32)
    assert share_of_padding(batches, MESSAGES) < 0.06
    assert len(batches) < len(MESSAGES) / 32 / 4


def test_texts_on_a_cpu_go_in_smaller_batches() -> None:
    texts, images = SimpleNamespace(lengths=MESSAGES), SimpleNamespace(lengths=np.ones(300), sizes=np.full(300, 784))
    usual = [rows.tolist() for rows in sorted_batches(MESSAGES, 64)]
    assert [rows.tolist() for rows in pass_batches(texts, 64, "cuda")] == usual
    batches = pass_batches(texts, 64, "cpu")
    assert sorted(np.concatenate(batches)) == list(range(len(MESSAGES)))
    most = 64 * TOKENS_PER_ROW_ON_A_CPU
    assert 0.9 * most < max(padded_tokens(rows, MESSAGES) for rows in batches) <= most
    of_images = [rows.tolist() for rows in sorted_batches(images.sizes, 64)]
    assert [rows.tolist() for rows in pass_batches(images, 64, "cpu")] == of_images
    for rows in (np.arange(100, 400), np.array([8, 3])):
        parts = pass_batches(texts, 64, "cpu", rows)
        expected = pass_batches(SimpleNamespace(lengths=MESSAGES[rows]), 64, "cpu")
        assert [part.tolist() for part in parts] == [rows[part].tolist() for part in expected]


@pytest.mark.parametrize("lengths", [LENGTHS, MESSAGES, LENGTHS + 500])
@pytest.mark.parametrize("size", [1, 32, 64])
def test_sorted_batches_take_no_more_than_so_many_of_the_longest_rows(size: int, lengths: np.ndarray) -> None:
    batches = sorted_batches(lengths, size)
    assert sorted(np.concatenate(batches)) == list(range(len(lengths)))
    widths = [int(lengths[rows].max()) for rows in batches]
    assert widths == sorted(widths, reverse=True) and widths[0] == lengths.max()
    assert max(padded_tokens(rows, lengths) for rows in batches) <= size * lengths.max()
    assert all(len(rows) == 1 or padded_tokens(rows, lengths) <= size * TOKENS_PER_ROW for rows in batches)


def test_rows_that_are_written_stand_together() -> None:
    batches = written_batches(np.repeat([100, 80, 60, 49], [30, 40, 10, 40]), 32)
    assert sorted(np.concatenate(batches).tolist()) == list(range(120))
    assert [len(batch) for batch in batches] == [64, 56]  # twice the rows, and none of half the length left out
    assert [len(batch) for batch in written_batches(np.repeat([100, 49], [20, 90]), 32)] == [20, 45, 45]
    assert [len(batch) for batch in written_batches(np.full(40, 600), 32)] == [13, 13, 13, 1]  # 8,192 tokens
