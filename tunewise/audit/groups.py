"""Rows by label, and by the values of a column: counts, label rates and lengths."""

from __future__ import annotations

from collections import Counter
from collections.abc import Mapping
from dataclasses import dataclass, field
from typing import Any

import numpy as np

from tunewise.audit.view import View
from tunewise.data.table import printable
from tunewise.data.tags import is_plain, type_of
from tunewise.types import Split

NO_VALUE = "(no value)"


def tag_types(view: View) -> list[str | None]:
    """The type of entity that each tag tells of; None for O."""
    plain = is_plain(view.data.schema.labels)
    return [type_of(name, plain) for name in view.data.schema.labels]


def label_names(view: View) -> tuple[str, ...]:
    """What rows can bear: classes, labels, types of entities; nothing for numbers."""
    if view.task == "token_classification":
        return tuple(dict.fromkeys(kind for kind in tag_types(view) if kind is not None))
    return view.data.schema.labels


def listed_with_counts(counts: Mapping[str, int], most: int = 8) -> str:
    """Names in quotes with their counts, the first few."""
    told = [f"'{printable(name)}' ({count:,})" for name, count in counts.items()]
    return ", ".join(told[:most]) + (f" and {len(told) - most:,} more" if len(told) > most else "")


def bears(view: View, split: Split) -> np.ndarray:
    """Which rows bear which label, bool (n, C): one for classes, any number for labels and types of entities."""
    targets, names = split.targets, label_names(view)
    if view.task == "classification":
        return targets[:, None] == np.arange(len(names))
    if view.task == "multilabel":
        return targets > 0
    types = tag_types(view)
    marks = [np.isin(targets, [tag for tag, kind in enumerate(types) if kind == name]) for name in names]
    return np.stack([mark.any(axis=1) for mark in marks], axis=1) if names else np.zeros((len(split), 0), bool)


def characters(split: Split) -> np.ndarray:
    """Characters of each row, int64 (n,); both texts of a pair together."""
    return np.array([sum(map(len, texts)) for texts in split.texts], dtype=np.int64)


@dataclass(frozen=True)
class Group:
    """The rows of one value of a column in one split.

    Attributes:
        rates: of each label, the share of the rows that bear it; empty for numbers.
        mean: of the number to predict, None for labels; `sd` is its standard deviation (of the sample).
        median_characters: of a row.
    """

    value: str
    rows: int
    median_characters: float
    rates: dict[str, float] = field(default_factory=dict)
    mean: float | None = None
    sd: float | None = None


def values_of(split: Split, column: str) -> np.ndarray:
    """The cells of a column, object (n,); NO_VALUE for those that hold nothing."""
    return np.array([cell if cell.strip() else NO_VALUE for cell in split.columns[column]], dtype=object)


def groups_of(view: View, split: Split, column: str) -> list[Group]:
    """The largest first, those of equal size by name."""
    values, lengths = values_of(split, column), characters(split)
    numbers = view.task == "regression"
    marks = None if numbers else bears(view, split)
    groups = []
    for value, count in sorted(Counter(values).items(), key=lambda entry: (-entry[1], entry[0])):
        here = values == value
        known: dict[str, Any] = {"mean": float(split.targets[here].mean())} if numbers else {}
        if numbers and count > 1:
            known["sd"] = float(split.targets[here].std(ddof=1))
        if marks is not None:
            shares = marks[here].mean(axis=0)
            known["rates"] = {name: float(share) for name, share in zip(label_names(view), shares, strict=True)}
        groups.append(Group(value, count, float(np.median(lengths[here])), **known))
    return groups
