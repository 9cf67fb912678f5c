"""A share of the training rows: drawn by class, and such that a smaller share is part of every larger one."""

from __future__ import annotations

from collections.abc import Sequence

import numpy as np

from tunewise.data.clean import Rows
from tunewise.data.labels import Label, count_names, sort_names
from tunewise.data.settings import DataConfig
from tunewise.data.split import Text, find_strata, text_order
from tunewise.data.table import listed
from tunewise.errors import DataError
from tunewise.types import DataStep, Task


def draw_share(config: DataConfig, train: Rows, task: Task) -> tuple[Rows, list[DataStep]]:
    """The training rows that `data.share` leaves, and what was done.

    Raises:
        DataError: they are fewer than the classes, or none.
    """
    if config.share is None:
        return train, []
    count, least = rows_of_share(len(train), config.share), least_rows(train, task)
    if count < least:
        each = f"one for each of the {least} classes" if task == "classification" else "one"
        raise DataError(
            f"a share of {config.share:g} is {count:,} of {len(train):,} training rows: less than {each}",
            where="data.share",
            fix=f"use at least {least / len(train):.2g}",
        )
    order = share_order(train.values, train.texts, task, config.share_seed)
    kept = train.take(np.sort(order[:count]))
    lost = [] if task == "regression" else sort_names(set(count_names(train.values)) - set(count_names(kept.values)))
    reason = f"{config.share:g} of the training rows, drawn by data.share; validation and test stay as they are"
    reason += f"; without a row there: {listed(lost)}" if lost else ""
    return kept, [DataStep("share", len(train), len(kept), reason)]


def rows_of_share(rows: int, share: float) -> int:
    """How many rows a share is: the nearest whole number, halves up."""
    return int(np.floor(round(rows * share, 9) + 0.5))


def least_rows(train: Rows, task: Task) -> int:
    """The fewest rows that can be drawn: one of each class, in other tasks one."""
    return len(set(train.values)) if task == "classification" else 1


def share_order(values: Sequence[Label], texts: Sequence[Text], task: Task, seed: int) -> np.ndarray:
    """Places of all rows, int64 (n,), in the order in which shares take them: any share is the beginning of it.

    First comes one row of each stratum (`split.find_strata`), so that each keeps one; then row k of the m rows of a
    stratum has its turn at (k - 1/2) / m: of any beginning, each stratum gives its share, to the row where strata are
    of like size. That is Webster's method of apportionment seen as an order, which, unlike that of largest
    remainders, never takes back a row when the whole grows (Balinski and Young 1982, Fair Representation). Within a
    stratum, rows stand in the order of hashes of seed and text.
    """
    strata, order = find_strata(values, task), text_order(texts, seed)
    sizes = np.bincount(strata)
    ranks = np.empty(len(strata), dtype=np.int64)
    by_stratum = order[np.argsort(strata[order], kind="stable")]
    ranks[by_stratum] = np.arange(len(strata)) - np.repeat(np.cumsum(sizes) - sizes, sizes)
    turns = np.where(ranks == 0, 0.0, (ranks + 0.5) / sizes[strata])
    return order[np.argsort(turns[order], kind="stable")]
