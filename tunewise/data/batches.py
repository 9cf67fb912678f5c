"""Which rows make which batch: decided by seed and epoch alone, so that a resumed run sees the same."""

from __future__ import annotations

import numpy as np

BATCHES_PER_POOL = 50


def epoch_batches(
    lengths: np.ndarray, batch_size: int, *, seed: int, epoch: int, group_by_length: bool
) -> list[np.ndarray]:
    """A random order of all rows, cut into batches; the last of the epoch may be smaller, none is dropped.

    With `group_by_length`, rows are sorted by length within random pools of 50 batches, and the batches are shuffled:
    little padding, yet other neighbours in every epoch.
    """
    generator = np.random.default_rng([seed, epoch])
    order = generator.permutation(len(lengths))
    if not group_by_length:
        return [order[start : start + batch_size] for start in range(0, len(order), batch_size)]
    batches = []
    pool_size = BATCHES_PER_POOL * batch_size
    for pool_start in range(0, len(order), pool_size):
        pool = order[pool_start : pool_start + pool_size]
        pool = pool[np.argsort(lengths[pool], kind="stable")]
        batches += [pool[start : start + batch_size] for start in range(0, len(pool), batch_size)]
    return [batches[place] for place in generator.permutation(len(batches))]


def sorted_batches(lengths: np.ndarray, batch_size: int) -> list[np.ndarray]:
    """All rows in batches of similar length, longest first, so that what does not fit fails at once."""
    order = np.argsort(-lengths, kind="stable")
    return [order[start : start + batch_size] for start in range(0, len(order), batch_size)]
