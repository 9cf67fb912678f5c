"""Class names that are probably not meant as they stand: two spellings of one class, -1 for no label, two in a cell."""

from __future__ import annotations

import re
from collections import Counter
from collections.abc import Sequence
from dataclasses import dataclass
from functools import cached_property

from tunewise.data.labels import Label, count_names, sort_names
from tunewise.data.table import as_number, count_rows, fold, listed
from tunewise.data.tags import Tags
from tunewise.errors import DataError
from tunewise.types import DataStep

SEPARATORS = ("|", ";", ",")
"""What divides several labels in one cell in most files."""

_FOLD = " (`clean: {fold_labels: true}` under data does it)"
_IF_MEANT = "if it is a class of its own, list all classes in data.labels"


@dataclass(frozen=True)
class Classes:
    """The class names of rows, and where they stand. `numbers` are the numbers of the rows in `source`, from 1."""

    values: Sequence[Label]
    numbers: Sequence[int]
    source: str
    columns: Sequence[str]

    @cached_property
    def counts(self) -> Counter[str]:
        """How many rows have each class."""
        return count_names(self.values)

    def where(self, name: str | None = None) -> str:
        """The place of the column; with a name, of its first row."""
        column = f"column '{self.columns[0]}'" if len(self.columns) == 1 else f"columns {listed(self.columns)}"
        if name is None:
            return f"{self.source}, {column}"
        pairs = zip(self.numbers, self.values, strict=True)
        first = next(number for number, value in pairs if name in count_names([value]))
        return f"{self.source}, row {first}, {column}"


def check_classes(classes: Classes, separator: str | None) -> None:
    """Raises where names are almost surely not what was meant; a recipe that lists its classes is not asked.

    Args:
        separator: the `label_separator` of the recipe.

    Raises:
        DataError: names the classes, with their counts and first row.
    """
    check_twins(classes)
    _check_minus_one(classes)
    _check_joined(classes, separator)


def check_twins(classes: Classes) -> None:
    """Raises where two class names differ only by case, space, or as 1 and 1.0 do: almost always one class.

    Raises:
        DataError: names both, with their counts, and the first row of the second.
    """
    counts, seen = classes.counts, {}
    for name in sort_names(counts):
        other = seen.setdefault(twin_key(name), name)
        if other != name:
            raise DataError(
                f"two classes that are probably one: {other!r} ({count_rows(counts[other])}) and {name!r} "
                f"({count_rows(counts[name])})",
                where=classes.where(name),
                fix=f"write both in the same way{_FOLD if _can_fold(classes) else ''}; if they do differ, list all "
                "classes in data.labels",
            )


def twin_key(name: str) -> str:
    """What is the same in all spellings of a class."""
    number = as_number(name) if re.fullmatch(r"-?[0-9]{1,15}\.0+", name) else None
    return fold(name) if number is None else str(int(number))


def _can_fold(classes: Classes) -> bool:
    """Whether `data.clean.fold_labels` applies: names stand in the cells of one column, and are no tags."""
    return len(classes.columns) == 1 and not any(isinstance(value, Tags) for value in classes.values)


def _check_minus_one(classes: Classes) -> None:
    """-1 beside the ids 0, 1, 2, ... is how many data sets write that there is no label; beside 0 and 1 alone it may
    well be a class."""
    others = set(classes.counts) - {"-1"}
    if "-1" in classes.counts and len(others) > 2 and _are_ids(others):
        raise DataError(
            f"class '-1' ({count_rows(classes.counts['-1'])}) beside the ids 0 to {len(others) - 1}: it probably "
            "stands for no label",
            where=classes.where("-1"),
            fix=f"leave these cells empty: rows without a label are left out and counted; {_IF_MEANT}",
        )


def _are_ids(names: set[str]) -> bool:
    return names == {str(number) for number in range(len(names))}


def _check_joined(classes: Classes, separator: str | None) -> None:
    """A name that is made of other names is several labels in a cell."""
    for mark in (mark for mark in SEPARATORS if mark != separator):
        for name in sort_names(name for name in classes.counts if mark in name):
            parts = [part.strip() for part in name.split(mark)]
            if all(part in classes.counts for part in parts):
                what = "correct `label_separator`" if separator else f'set `label_separator: "{mark}"`'
                raise DataError(
                    f"class '{name}' ({count_rows(classes.counts[name])}) is made of the classes {listed(parts)}, "
                    f"divided by '{mark}'",
                    where=classes.where(name),
                    fix=f"for several labels in a cell, {what} under data; {_IF_MEANT}",
                )


def doubt_steps(classes: Classes, separator: str | None, named: bool) -> list[DataStep]:
    """What may be meant otherwise, but may as well be right.

    Args:
        named: whether the recipe lists the classes.
    """
    reasons, count = [], len(classes.values)
    if set(classes.counts) == {"-1", "0", "1"} and not named:
        reasons.append(
            f"'-1' ({count_rows(classes.counts['-1'])}) is taken as a class; where it means that there is no label, "
            "leave the cells empty"
        )
    if separator and all(value is None or len(value) < 2 for value in classes.values if not isinstance(value, float)):
        reasons.append(f"no cell holds the separator '{separator}': every row has at most one label")
    return [DataStep("doubtful classes", count, count, f"{classes.where()}: {reason}") for reason in reasons]
