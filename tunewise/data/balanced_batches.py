"""Steps in which every class comes equally often: rows of small classes are read several times in an epoch.

Every row of every class is read; those of a class with n of the m rows of the largest, m / n times, give or take one,
so that an epoch has C m rows. Which are read once more is drawn anew for each epoch. `data.balance: over` repeats rows
likewise, but once for all, and leaves to chance which classes meet in a step.
"""

from __future__ import annotations

from collections.abc import Sequence

import numpy as np

from tunewise.data.batches import BatchSize, largest_first


def balanced_rows(classes: np.ndarray) -> int:
    """How many rows an epoch has."""
    counts = np.unique(classes, return_counts=True)[1]
    return int(len(counts) * counts.max())


def balanced_steps(
    lengths: np.ndarray, classes: np.ndarray, size: BatchSize, *, seed: int, epoch: int, group_by_length: bool
) -> list[np.ndarray]:
    """The rows of each optimiser step. In none does a class come more than once more often than another.

    A row comes again only when all of its class were there. With `group_by_length`, the rows of a step are in the order
    of their lengths, for batches of similar length where several make a step; across steps lengths are as they come:
    rows of a small class that are sorted by length would stand beside themselves. In epoch 0 the step with the batch of
    most padded tokens comes first, as in `epoch_steps`.

    Args:
        lengths: of all rows, in tokens.
        classes: of all rows, integers (n,).
        size: so many rows; not by tokens.
    """
    generator = np.random.default_rng([seed, epoch])
    found, class_N, counts = np.unique(classes, return_inverse=True, return_counts=True)
    by_class = [_repeated(np.flatnonzero(class_N == number), counts.max(), generator) for number in range(len(found))]
    rows_per_step, total = size.rows * size.accumulate, len(found) * int(counts.max())
    sizes = [min(rows_per_step, total - start) for start in range(0, total, rows_per_step)]
    rows = np.empty(total, dtype=np.int64)
    rows[np.argsort(_order(len(found), sizes, generator), kind="stable")] = np.concatenate(by_class)
    steps = np.split(rows, np.cumsum(sizes)[:-1])
    if group_by_length:
        steps = [size.by_length(step, lengths) for step in steps]
    return largest_first(steps, size, lengths) if epoch == 0 else steps


def _repeated(rows: np.ndarray, count: int, generator: np.random.Generator) -> np.ndarray:
    """So many rows: all in random order, and all in another, until there are enough."""
    passes = -(-count // len(rows))
    return np.concatenate([generator.permutation(rows) for _ in range(passes)])[:count]


def _order(classes: int, sizes: Sequence[int], generator: np.random.Generator) -> np.ndarray:
    """The class of each row, step by step. What a step has beyond whole rounds of all classes comes out of a bag, which
    holds each class once before any comes again, so that all come equally often in the end."""
    parts, bag = [], np.empty(0, dtype=np.int64)
    for size in sizes:
        rounds, rest = divmod(size, classes)
        if rest > len(bag):
            fresh = generator.permutation(classes)
            twice = np.isin(fresh, bag)
            bag = np.concatenate([bag, fresh[~twice], fresh[twice]])
        parts += [np.tile(np.arange(classes), rounds), bag[:rest]]
        bag = bag[rest:]
    return np.concatenate(parts)
