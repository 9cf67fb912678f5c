"""Training labels that are allowed and yet look like a mistake: told before the work begins, never refused."""

from __future__ import annotations

from collections import Counter
from collections.abc import Sequence

from tunewise.data.clean import Rows
from tunewise.data.labels import count_names, sort_names
from tunewise.data.schema import MANY
from tunewise.data.table import listed
from tunewise.types import DataStep, Task

ONE_CLASS = 0.95
"""A share of one class above which accuracy says little."""

FEW_ROWS = 3
"""So few rows per class, on average, do not teach it: the column is rather a number, or a name of the row."""


def plausible_steps(train: Rows, task: Task, given_validation: bool) -> list[DataStep]:
    """A note for everything about the labels of the training rows that is probably not meant.

    Args:
        given_validation: whether validation has a source of its own; where it is split off, classes with one row are
            told there.
    """
    look = {"classification": _of_classes, "multilabel": _of_sets, "regression": _of_numbers}.get(task)
    notes = look(train.values, given_validation) if look else []
    source, count = train.table.source, len(train)
    return [DataStep("plausible labels", count, count, f"{source}: {note}. Kept as they are") for note in notes]


def _of_classes(values: Sequence[str], given_validation: bool) -> list[str]:
    counts, count = count_names(values), len(values)
    notes = []
    if count < FEW_ROWS * len(counts):
        quantities = "; if they are quantities, set `task: regression`" if all(map(str.isdecimal, counts)) else ""
        notes.append(f"{len(counts):,} classes for {count:,} rows: is it the right column?{quantities}")
    elif single := [name for name in sort_names(counts) if counts[name] == 1 and given_validation]:
        notes.append(f"classes with one training row can hardly be learned: {listed(single)}")
    name, most = counts.most_common(1)[0]
    if most > ONE_CLASS * count:
        notes.append(
            f"{most:,} of {count:,} rows ({most / count:.1%}) are '{name}': a model that always says so looks good by "
            "accuracy; choose by f1_macro or average precision, and see objective.class_weights"
        )
    return notes


def _of_sets(values: Sequence[tuple[str, ...]], given_validation: bool) -> list[str]:
    counts, count = count_names(values), len(values)
    notes = []
    if all(len(names) == 1 for names in values):
        notes.append("every row has exactly one label; if that is always so, set `task: classification`")
    if everywhere := [name for name in sort_names(counts) if counts[name] == count]:
        notes.append(f"labels that every row has, so that nothing can be learned of them: {listed(everywhere)}")
    if single := [name for name in sort_names(counts) if counts[name] == 1]:
        notes.append(f"labels with one training row can hardly be learned: {listed(single)}")
    return notes


def _of_numbers(values: Sequence[float], given_validation: bool) -> list[str]:
    counts, count = Counter(values), len(values)
    distinct, notes = sorted(counts), []
    if len(distinct) > MANY and count >= FEW_ROWS * len(distinct) and distinct in _numberings(len(distinct)):
        notes.append(
            f"the numbers are {distinct[0]:g}, {distinct[1]:g}, ... {distinct[-1]:g} without a gap, as if they named "
            f"{len(distinct)} classes; if they do, set `task: classification`"
        )
    number, most = counts.most_common(1)[0]
    if most > ONE_CLASS * count:
        notes.append(f"{most:,} of {count:,} rows ({most / count:.1%}) have the number {number:g}")
    return notes + _outliers(sorted(values))


def _numberings(count: int) -> tuple[list[float], list[float]]:
    return [float(number) for number in range(count)], [float(number) for number in range(1, count + 1)]


def _outliers(values: Sequence[float]) -> list[str]:
    """Numbers a thousand times as far from the median as three quarters of all are: other units, or 999999 for none."""
    median = values[len(values) // 2]
    usual = sorted(abs(value - median) for value in values)[3 * len(values) // 4]
    far = [value for value in values if usual and abs(value - median) > 1000 * usual]
    if not far:
        return []
    told = ", ".join(f"{value:g}" for value in dict.fromkeys(far[:5]))
    return [f"{len(far):,} rows have numbers far beyond the others ({told}): do they stand for a missing value?"]
