"""Splits that the recipe does not name are cut from train: by class, by whole groups, or by time; and told."""

from __future__ import annotations

from collections import Counter, defaultdict
from collections.abc import Mapping, Sequence

import numpy as np

from tunewise.data.clean import Rows
from tunewise.data.labels import count_names, sort_names
from tunewise.data.settings import DataConfig
from tunewise.data.split import assign, combinations_of
from tunewise.data.split_groups import Units, assign_groups, find_units
from tunewise.data.split_times import asked_rows, cut_by_time, latest_of_groups
from tunewise.data.table import count_rows, listed
from tunewise.data.tags import tag_names
from tunewise.data.times import shown_time
from tunewise.errors import DataError
from tunewise.types import DataStep, Task

Places = Mapping[str, np.ndarray]

_ALIKE = {
    "classification": "class",
    "multilabel": "combination of labels",
    "regression": "quantile of the number",
    "token_classification": "combination of types of entity",
    "unpaired_preference": "label",
}


def split_off(
    config: DataConfig, parts: Mapping[str, Rows], task: Task, keys: Mapping[str, str]
) -> tuple[dict[str, Rows], list[DataStep]]:
    """Train, validation, tests in this order; what is missing is cut from train.

    Args:
        keys: the columns of `group` and `time`, where the recipe names them.

    Raises:
        DataError: the shares leave nothing for train, there are too few rows, groups or times, or, by time, a class
            is not in train.
    """
    shares = _shares(config, parts)
    if not shares:
        return dict(parts), []
    train = parts["train"]
    if "time" in keys:
        places, steps = _by_time(train, task, shares, keys)
    elif "group" in keys:
        places, steps = _by_group(train, task, shares, config.split_seed, keys["group"])
    else:
        places, steps = _by_class(train, task, shares, config.split_seed)
    if "time" not in keys:
        steps += _rare_steps(train, shares)
    found = {name: train.take(rows) for name, rows in places.items()}
    order = ["train", "validation", *(name for name in {**parts, **found} if name not in ("train", "validation"))]
    return {name: found.get(name) or parts[name] for name in order}, steps


def _shares(config: DataConfig, parts: Mapping[str, Rows]) -> dict[str, float]:
    shares = {}
    if not set(parts) - {"train", "validation"}:
        shares["test"] = config.test_share
    if "validation" not in parts:
        shares["validation"] = config.validation_share
    if sum(shares.values()) >= 1:
        raise DataError(
            f"the shares leave no rows for train: {' + '.join(f'{share:g}' for share in shares.values())} is not "
            "below 1",
            where="data.test_share, data.validation_share",
            fix="make them smaller; the defaults are 0.2 and 0.15",
        )
    return shares


def _check_filled(train: Rows, places: Places, why: str, fix: str = "add rows") -> None:
    for name, rows in places.items():
        if not len(rows):
            raise DataError(
                f"{len(train)} rows are too few to split off a {name} set: {why}",
                where=train.table.source,
                fix=f"{fix}, or name a {name} file under data",
            )


def _cut(places: Places, share_of: int = 0) -> str:
    """How many rows went to each split; with their share of so many rows where that is given."""
    return ", ".join(
        f"{len(rows):,} to {name}" + (f" ({len(rows) / share_of:.1%})" if share_of else "")
        for name, rows in places.items()
        if name != "train"
    )


def _split_step(train: Rows, places: Places, reason: str) -> DataStep:
    return DataStep("split", len(train), len(places["train"]), reason)


def _without(shares: Mapping[str, float]) -> str:
    """What rows that all stay in train cannot be: "validated or tested"."""
    return "validated or tested" if "test" in shares else "validated"


def _rare_steps(train: Rows, shares: Mapping[str, float]) -> list[DataStep]:
    single = [name for name, rows in count_names(train.values).items() if rows < 2]
    if not single:
        return []
    reason = f"classes with one row stay in train, and cannot be {_without(shares)}: {listed(sort_names(single))}"
    return [DataStep("rare classes", len(train), len(train), reason)]


def _by_class(train: Rows, task: Task, shares: Mapping[str, float], seed: int) -> tuple[Places, list[DataStep]]:
    places = assign(train.alike, train.values, task, shares, seed)
    _check_filled(
        train,
        places,
        "each class (or range of the number) keeps at least one row for train, and equal texts stay together",
    )
    reason = f"{_cut(places)}{_same_share(task)}; equal {train.what} together"
    return places, [_split_step(train, places, reason)]


def _same_share(task: Task, how: str = "") -> str:
    """Of what every split has the same share; nothing where rows bear no label."""
    return f"; the {'' if how else 'same '}share of each {_ALIKE[task]}{how}" if task in _ALIKE else ""


def _by_group(
    train: Rows, task: Task, shares: Mapping[str, float], seed: int, column: str
) -> tuple[Places, list[DataStep]]:
    units = find_units(train.alike, train.groups, train.values, task, seed)
    places = assign_groups(units, train.values, task, shares)
    joined, large = _joined(train, units, column), _large(train, units, shares, column)
    _check_filled(
        train,
        places,
        f"rows of one '{column}' stay together, and each class (or range of the number) keeps at least one row for "
        f"train; groups: {len(units.sizes):,}, the largest of {count_rows(max(units.sizes))}"
        + "".join(f"; {line}" for line in joined),
        "take out rows whose text many groups have" if joined else "add rows of other groups",
    )
    named = [{train.groups[place] for place in rows} - {None} for rows in places.values()]
    counts = ", ".join(f"{len(groups):,} in {name}" for name, groups in zip(places, named, strict=True))
    reason = (
        f"{_cut(places, len(train))}; rows of one '{column}' together ({counts})"
        f"{_same_share(task, ' as near as these allow')}; equal {train.what} together"
    )
    steps = [_split_step(train, places, reason)]
    steps += [DataStep("groups", len(train), len(train), line) for line in (*joined, *large)]
    return places, steps + ([] if task == "regression" else _lone_steps(train, units, shares))


def _lone_steps(train: Rows, units: Units, shares: Mapping[str, float]) -> list[DataStep]:
    """A note where a class of several rows is in one group alone, and so in train alone."""
    units_of: dict[str, set[int]] = defaultdict(set)
    rows_of: Counter[str] = Counter()
    for unit, names in zip(units.of_row.tolist(), combinations_of(train.values), strict=True):
        rows_of.update(names)
        for name in names:
            units_of[name].add(unit)
    lone = sort_names(name for name, found in units_of.items() if len(found) == 1 and rows_of[name] > 1)
    if not lone:
        return []
    reason = f"classes of one group alone stay in train, and cannot be {_without(shares)}: {listed(lone)}"
    return [DataStep("rare classes", len(train), len(train), reason)]


def _joined(train: Rows, units: Units, column: str) -> list[str]:
    """A line where groups share texts, and so are one."""
    held = _groups_of_units(train, units)
    several = [unit for unit, groups in enumerate(held) if len(groups) > 1]
    if not several:
        return []
    largest = max(several, key=lambda unit: units.sizes[unit])
    return [
        f"{sum(len(held[unit]) for unit in several):,} of {sum(map(len, held)):,} '{column}' share texts with another "
        f"and go together, in {len(several):,} larger group{'s' * (len(several) > 1)}; the largest holds "
        f"{len(held[largest]):,} of them, {count_rows(units.sizes[largest])}"
    ]


def _large(train: Rows, units: Units, shares: Mapping[str, float], column: str) -> list[str]:
    """A line where groups are larger than a split was to be."""
    held, lines = _groups_of_units(train, units), []
    for name, share in shares.items():
        asked = asked_rows(len(train), share)
        large = sorted(
            (unit for unit, size in enumerate(units.sizes) if size > asked), key=lambda unit: -units.sizes[unit]
        )
        if large:
            what = f"group{'s' * (len(large) > 1)} of '{column}' {'are' if len(large) > 1 else 'is'}"
            lines.append(
                f"{len(large):,} {what} larger than {name} was to be ({count_rows(asked)}); the largest, "
                f"{listed(sorted(held[large[0]]), 3) or 'rows without one'}, has {count_rows(units.sizes[large[0]])}"
            )
    return lines


def _groups_of_units(train: Rows, units: Units) -> list[set[str]]:
    held: list[set[str]] = [set() for _ in units.strata]
    for unit, group in zip(units.of_row.tolist(), train.groups, strict=True):
        if group is not None:
            held[unit].add(group)
    return held


def _by_time(
    train: Rows, task: Task, shares: Mapping[str, float], keys: Mapping[str, str]
) -> tuple[Places, list[DataStep]]:
    times = latest_of_groups(train.times, train.groups) if train.groups else list(train.times)
    distinct, needed = len(set(times)), len(shares) + 1
    if distinct < needed:
        each = f", by the latest of each '{keys['group']}'" if train.groups else ""
        raise DataError(
            f"{count_rows(len(train))} with {distinct} different time{'s' * (distinct > 1)}{each} are too few to split "
            f"off {' and '.join(shares)}: rows of equal time stay on one side",
            where=f"{train.table.source}, column '{keys['time']}'",
            fix="give times that differ, or name the missing files under data",
        )
    places = cut_by_time(times, shares)
    _check_classes(train, places, task, keys["time"])
    return places, [_split_step(train, places, _time_reason(train, places, times, shares, keys))]


def _time_reason(
    train: Rows, places: Places, times: Sequence, shares: Mapping[str, float], keys: Mapping[str, str]
) -> str:
    told, count = [], len(train)
    alike = f"one '{keys['group']}' and of equal time" if train.groups else "equal time"
    for name, share in shares.items():
        rows, asked = len(places[name]), asked_rows(count, share)
        instead = f" instead of {asked:,}, as rows of {alike} stay on one side" if rows != asked else ""
        start = shown_time(train, min(times[place] for place in places[name]), keys["time"])
        told.append(f"{rows:,} to {name} ({rows / count:.1%}), from {start} on{instead}")
    end = shown_time(train, max(times[place] for place in places["train"]), keys["time"])
    by = f"by the latest '{keys['time']}' of each '{keys['group']}'" if train.groups else f"by '{keys['time']}'"
    return f"{'; '.join(told)}; train to {end}; {by}, so that classes do not keep their share"


def _check_classes(train: Rows, places: Places, task: Task, column: str) -> None:
    """Raises where train lacks a class of the later rows, as for sources that are given."""
    counts = count_names([train.values[place] for place in places["train"]])
    known = set(tag_names(counts) if task == "token_classification" else counts)
    for name, rows in places.items():
        held = count_names([train.values[place] for place in rows])
        strange = sort_names(set(held) - known)
        if not strange:
            continue
        first = next(place for place in rows if strange[0] in count_names([train.values[place]]))
        told = ", ".join(f"'{one}' ({count_rows(held[one])})" for one in strange[:10])
        more = f" and {len(strange) - 10} more" if len(strange) > 10 else ""
        raise DataError(
            f"{len(strange)} class{'es' * (len(strange) > 1)} of {name} that no earlier row, left for train, has: "
            f"{told}{more}",
            where=train.table.where(train.indices[first], column),
            fix="make test_share and validation_share smaller, take the rows out, or leave out data.time",
        )
