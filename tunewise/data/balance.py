"""Training rows of which every class has as many: rows of small classes repeated, or rows of large ones left out."""

from __future__ import annotations

from collections.abc import Sequence

import numpy as np

from tunewise.data.clean import Rows
from tunewise.data.labels import count_names, sort_names
from tunewise.data.settings import DataConfig
from tunewise.data.split import Text, draw_per_class, drawn, find_strata
from tunewise.data.table import listed
from tunewise.errors import DataError
from tunewise.types import DataStep, Task

MOST_TOLD = 12


def balance(config: DataConfig, train: Rows, task: Task) -> tuple[Rows, list[DataStep]]:
    """The training rows as `data.balance` wants them, and what was done.

    Raises:
        DataError: the task has no classes.
    """
    if config.balance is None:
        return train, []
    if task != "classification":
        raise DataError(
            f"balance is for classification; the task is {task}",
            where="data.balance",
            fix="leave it out; classes of labels and entities can be weighed by objective.class_weights"
            if task != "regression"
            else "leave it out",
        )
    if config.balance == "over":
        places = draw_over(train.values, train.texts, config.split_seed)
    else:
        least = min(count_names(train.values).values())
        places = draw_per_class(train.values, train.texts, least, config.split_seed)
    balanced = train.take(places)
    return balanced, [DataStep(f"balance: {config.balance}", len(train), len(balanced), _told(config, train, balanced))]


def draw_over(values: Sequence[str], texts: Sequence[Text], seed: int) -> np.ndarray:
    """Places of all rows, ascending, those of smaller classes repeated until each class has as many as the largest.

    The rows of a class are repeated equally often, but for one time more of those that seed and text decide.
    """
    strata = find_strata(values, "classification")
    sizes = np.bincount(strata)
    times, more = np.divmod(sizes.max(), sizes)
    whole = np.repeat(np.arange(len(strata)), times[strata])
    return np.sort(np.concatenate([whole, drawn(strata, texts, more, seed)]))


def _told(config: DataConfig, before: Rows, after: Rows) -> str:
    had = count_names(before.values)
    (each,) = set(count_names(after.values).values())
    how = {
        "over": "rows of the smaller classes stand there several times",
        "under": "rows of the larger classes are left out",
    }[config.balance]
    names = sort_names(had)
    counts = ", ".join(f"{listed([name])} {had[name]:,}" for name in names[:MOST_TOLD])
    counts += f" and {len(names) - MOST_TOLD} more classes" if len(names) > MOST_TOLD else ""
    return f"{each:,} training rows of each class, by data.balance: {how}. Before: {counts}"
