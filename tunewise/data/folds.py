"""Cross-validation: which fold tests each row, and the splits of a fold."""

from __future__ import annotations

from collections import defaultdict
from collections.abc import Mapping

import numpy as np

from tunewise.data.clean import Rows
from tunewise.data.labels import sort_names
from tunewise.data.settings import DataConfig
from tunewise.data.split import combinations_of
from tunewise.data.split_groups import Units, find_units
from tunewise.data.split_off import split_off
from tunewise.data.table import count_rows
from tunewise.errors import DataError
from tunewise.types import DataStep, Task

ROUNDS = 20
"""How often each unit may change folds. Most are settled after three."""

_REFUSED = {
    "test": "every row of train is tested once; data.test names other rows",
    "validation": "each fold cuts its validation rows from those that it does not test; data.validation names others",
    "time": "folds would train on later rows than they test, which data.time is there to prevent",
}


def check_folds(config: DataConfig) -> None:
    """Refuses what does not go with folds.

    Raises:
        DataError: names the option.
    """
    if config.folds is None:
        if config.fold is not None:
            raise DataError(
                f"fold {config.fold} of what? data.folds is not given",
                where="data.fold",
                fix="leave it out, or give data.folds too",
            )
        return
    if config.fold is not None and config.fold > config.folds:
        raise DataError(
            f"there is no fold {config.fold} of {config.folds}",
            where="data.fold",
            fix=f"give a number from 1 to {config.folds}",
        )
    for name, why in _REFUSED.items():
        if getattr(config, name) is not None:
            raise DataError(f"with data.folds, {why}", where=f"data.{name}", fix=f"leave out data.{name} or data.folds")
    if config.test_share != DataConfig.model_fields["test_share"].default:
        raise DataError(
            f"with data.folds, each test set is 1/{config.folds} of the rows, whatever data.test_share says",
            where="data.test_share",
            fix="leave it out",
        )
    if 1 / config.folds + config.validation_share >= 1:
        raise DataError(
            f"the shares leave no rows for train: 1/{config.folds} for test and {config.validation_share:g} for "
            "validation are not below 1",
            where="data.validation_share",
            fix=f"make it smaller than {1 - 1 / config.folds:g}; the default is 0.15",
        )


def fold_of_rows(train: Rows, task: Task, folds: int, seed: int) -> np.ndarray:
    """The fold that tests each row, int64 (n,), from 1.

    Rows of equal texts, and those of one group, are in one fold. Folds are filled one unit of such rows after the
    other, the largest first and then by class and hash, each where it adds least to the sum over folds of the squared
    rows of every stratum (class, combination of labels or quantile), of equals where there are fewest rows. Then units
    change folds as long as that lessens the sum over folds of the squared rows of every stratum and of all, and does
    not bring all rows of a stratum into one fold. Where each unit is one row, folds differ by at most one row, in every
    stratum and in all.

    Raises:
        DataError: a class is in fewer units than there are folds, or all its rows would be in one fold.
    """
    units = find_units(train.alike, train.groups or (None,) * len(train), train.values, task, seed)
    _check_enough(train, units, task, folds)
    fold_of_row = _deal(units, folds)[units.of_row] + 1
    if task != "regression":
        _check_spread(train, fold_of_row)
    return fold_of_row


def _deal(units: Units, folds: int) -> np.ndarray:
    """The fold of each unit, from 0."""
    width = 1 + max(stratum for held in units.strata for stratum, _ in held)
    sizes = units.sizes
    # Of each unit: its strata, and a last column for all rows; and its rows of each.
    at = [np.array([*(stratum for stratum, _ in held), width]) for held in units.strata]
    counts = [
        np.array([*(count for _, count in held), size], dtype=np.float64)
        for held, size in zip(units.strata, sizes, strict=True)
    ]
    order = sorted(range(len(sizes)), key=lambda unit: (-sizes[unit], units.strata[unit][0][0], unit))
    have, place = np.zeros((folds, width + 1)), np.zeros(len(sizes), dtype=np.int64)
    strata_first = np.ones(width + 1)
    strata_first[width] = 1 / (sum(sizes) + 1) ** 2
    for unit in order:
        place[unit] = (have[:, at[unit]] @ (counts[unit] * strata_first[at[unit]])).argmin()
        have[place[unit], at[unit]] += counts[unit]
    for _ in range(ROUNDS if max(sizes) > 1 else 0):
        before = place.copy()
        for unit in order:
            have[place[unit], at[unit]] -= counts[unit]
            costs = have[:, at[unit]] @ counts[unit]
            best = costs.argmin()
            if costs[best] < costs[place[unit]]:
                others = have[:, at[unit][:-1]]
                rest = others.sum(axis=0)
                if not ((rest > 0) & (others[best] == rest)).any():  # no class goes to one fold as a whole
                    place[unit] = best
            have[place[unit], at[unit]] += counts[unit]
        if np.array_equal(before, place):
            break
    return place


def split_fold(
    config: DataConfig, train: Rows, task: Task, keys: Mapping[str, str], fold_of_row: np.ndarray
) -> tuple[dict[str, Rows], list[DataStep]]:
    """Train, validation and test of a fold: the first where the recipe names none. Of all rows, validation has the
    share that it has without folds.

    Raises:
        DataError: too few rows are left for validation.
    """
    number = config.fold or 1
    rest, test = train.take(np.flatnonzero(fold_of_row != number)), train.take(np.flatnonzero(fold_of_row == number))
    sizes = np.bincount(fold_of_row)[1:]
    share = config.validation_share * len(train) / len(rest)
    one = config.model_copy(update={"validation_share": share})
    parts, steps = split_off(one, {"train": rest, "test": test}, task, keys)
    ends = count_rows(int(sizes.max())) if sizes.min() == sizes.max() else f"{sizes.min():,} to {sizes.max():,} rows"
    told = (
        f"cross-validation: {config.folds} folds of {ends}, which test each row once; this is fold {number}, with "
        f"{count_rows(len(test))} to test"
    )
    return parts, [DataStep("folds", len(train), len(train), told), *steps]


def _check_enough(train: Rows, units: Units, task: Task, folds: int) -> None:
    together = "groups" if train.groups else "different texts"
    if len(units.sizes) < folds:
        raise DataError(
            f"{len(units.sizes)} {together} are too few for {folds} folds",
            where=f"{train.table.source}, data.folds",
            fix="add rows, or leave out data.folds",
        )
    held: dict[str, set[int]] = defaultdict(set)
    if task != "regression":
        for unit, names in zip(units.of_row.tolist(), combinations_of(train.values), strict=True):
            for name in names:
                held[name].add(unit)
    few = sort_names(name for name, found in held.items() if len(found) < folds)
    if not few:
        return
    least = min(len(held[name]) for name in few)
    told = ", ".join(f"'{name}' ({len(held[name])})" for name in few[:10])
    more = f" and {len(few) - 10} more" if len(few) > 10 else ""
    fewer = f"take at most {least} folds, " if least > 1 else ""
    raise DataError(
        f"{len(few)} class{'es' * (len(few) > 1)} with fewer {together} than the {folds} folds: {told}{more}",
        where=f"{train.table.source}, data.folds",
        fix=f"{fewer}add rows of {'these classes' if len(few) > 1 else 'this class'}, or take "
        f"{'them' if len(few) > 1 else 'it'} out",
    )


def _check_spread(train: Rows, fold_of_row: np.ndarray) -> None:
    """Raises where all rows of a class are in one fold, which then would test what it was never shown."""
    held: dict[str, set[int]] = defaultdict(set)
    for fold, names in zip(fold_of_row.tolist(), combinations_of(train.values), strict=True):
        for name in names:
            held[name].add(fold)
    alone = sort_names(name for name, found in held.items() if len(found) == 1)
    if alone:
        raise DataError(
            f"all rows of '{alone[0]}' come into one fold, as groups are of very unequal size",
            where=f"{train.table.source}, data.folds",
            fix="take another number of folds, or take the class out",
        )
