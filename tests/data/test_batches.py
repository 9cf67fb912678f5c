from __future__ import annotations

import numpy as np
import pytest

from tunewise.data.batches import BATCHES_PER_POOL, epoch_batches, sorted_batches

LENGTHS = np.random.default_rng(0).integers(2, 200, size=1003)


def padding(batches: list[np.ndarray]) -> int:
    return sum(int(len(rows) * LENGTHS[rows].max() - LENGTHS[rows].sum()) for rows in batches)


@pytest.mark.parametrize("group", [True, False])
@pytest.mark.parametrize("size", [1, 7, 16, 1003, 5000])
def test_every_row_once(group: bool, size: int) -> None:
    batches = epoch_batches(LENGTHS, size, seed=1, epoch=0, group_by_length=group)
    assert sorted(np.concatenate(batches)) == list(range(1003))
    assert sorted(map(len, batches), reverse=True)[:-1] == [min(size, 1003)] * (len(batches) - 1)
    assert len(batches) == -(-1003 // size)


def test_seed_and_epoch_decide() -> None:
    def order(**given: int) -> list[int]:
        return np.concatenate(epoch_batches(LENGTHS, 16, group_by_length=True, **given)).tolist()

    assert order(seed=1, epoch=2) == order(seed=1, epoch=2)
    assert len({tuple(order(seed=seed, epoch=epoch)) for seed in range(3) for epoch in range(3)}) == 9


def test_grouping_saves_padding_and_mixes_batches() -> None:
    grouped = epoch_batches(LENGTHS, 8, seed=0, epoch=0, group_by_length=True)
    plain = epoch_batches(LENGTHS, 8, seed=0, epoch=0, group_by_length=False)
    assert padding(grouped) < padding(plain) / 5
    # Batches are in random order, not from short to long.
    means = [LENGTHS[rows].mean() for rows in grouped]
    assert abs(np.corrcoef(means, range(len(means)))[0, 1]) < 0.3


def test_rows_meet_others_in_the_next_epoch() -> None:
    def together(epoch: int) -> set[tuple[int, int]]:
        batches = epoch_batches(LENGTHS, 8, seed=0, epoch=epoch, group_by_length=True)
        return {(first, second) for rows in batches for first in rows for second in rows if first < second}

    assert len(together(0) & together(1)) < len(together(0)) / 3


def test_grouping_is_within_pools() -> None:
    """Rows of a pool of 50 batches, drawn at random, are sorted: no batch holds rows of two pools."""
    size = 4
    batches = epoch_batches(LENGTHS, size, seed=3, epoch=1, group_by_length=True)
    order = np.random.default_rng([3, 1]).permutation(len(LENGTHS))
    pool_of = {row: place // (BATCHES_PER_POOL * size) for place, row in enumerate(order)}
    assert all(len({pool_of[row] for row in rows}) == 1 for rows in batches)


def test_sorted_batches_begin_with_the_longest() -> None:
    batches = sorted_batches(np.array([3, 9, 5, 9, 1]), 2)
    assert [rows.tolist() for rows in batches] == [[1, 3], [2, 0], [4]]
    assert sorted_batches(np.array([], dtype=np.int64), 2) == []
