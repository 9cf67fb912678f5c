"""Which rows train, which validate, which test: stratified, and decided by content and seed alone.

Rows with the same text stay on one side, since a test row that was trained on tests memory. Order within a stratum is
that of a hash of seed and text: no random generator, so the same rows on every machine and in any order of the file.
"""

from __future__ import annotations

import hashlib
from collections import Counter, defaultdict
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from itertools import compress

import numpy as np

from tunewise.data.labels import Label
from tunewise.data.tags import Tags, is_plain, type_of
from tunewise.types import Task

BINS = 10
"""Quantile bins of a regression target, each of at least BIN_ROWS rows."""

BIN_ROWS = 5

COMMON = 5
"""Rows that a combination of labels needs to be a stratum; the rest are pooled by their rarest label."""

Text = tuple[str, ...]


@dataclass(frozen=True)
class _Units:
    """Rows that go together, as their text is the same; numbered in the order of the hashes of their texts.

    `of_row` is the unit of each row; of each unit, `sizes` are its rows, `strata` the lowest stratum among them.
    """

    of_row: np.ndarray
    sizes: list[int]
    strata: list[int]


def find_strata(values: Sequence[Label], task: Task) -> np.ndarray:
    """The stratum of each row, int64 (n,), numbered from 0: its class, its combination of labels or of types of entity,
    or its quantile."""
    if task == "regression":
        return _quantiles(np.array(values, dtype=np.float64))
    names = combinations_of(values)
    if task in ("multilabel", "token_classification"):
        names = _pool(names)
    number = {name: index for index, name in enumerate(sorted(set(names)))}
    return np.array([number[name] for name in names], dtype=np.int64)


def _quantiles(targets: np.ndarray) -> np.ndarray:
    bins = max(1, min(BINS, len(targets) // BIN_ROWS))
    edges = np.unique(np.quantile(targets, np.arange(1, bins) / bins))
    return np.unique(np.searchsorted(edges, targets, side="right"), return_inverse=True)[1].astype(np.int64)


def combinations_of(values: Sequence[Label]) -> list[Text]:
    """The labels or types of entity of each row, sorted."""
    plain = is_plain(tag for value in values if isinstance(value, Tags) for tag in value)
    found = {value: _combination(value, plain) for value in set(values)}
    return [found[value] for value in values]


def _combination(value: Label, plain: bool) -> Text:
    if isinstance(value, Tags):
        return tuple(sorted({kind for tag in value if (kind := type_of(tag, plain)) is not None}))
    return tuple(sorted(value)) if isinstance(value, tuple) else (str(value),)


def _pool(names: list[Text]) -> list[Text]:
    combinations = Counter(names)
    labels = Counter(label for combination in names for label in combination)
    rarest = {name: min(name, key=lambda label: (labels[label], label), default="") for name in combinations}
    # The leading "" keeps the pool of label a apart from the combination (a,).
    return [name if combinations[name] >= COMMON else ("", rarest[name]) for name in names]


def assign(
    texts: Sequence[Text], values: Sequence[Label], task: Task, shares: Mapping[str, float], seed: int
) -> dict[str, np.ndarray]:
    """Places of the rows of each split, int64 and ascending: those in `shares`, and `train`, which gets the rest.

    Every stratum gives its share, to the row, where no text is repeated; it always keeps a row for train. Every label
    has a row in train.

    Args:
        shares: share of all rows of each split that is cut off; together below 1.
    """
    strata = find_strata(values, task)
    units = _units(texts, strata, seed)
    sizes = np.zeros(strata.max() + 1, dtype=np.int64)
    np.add.at(sizes, units.strata, units.sizes)
    room = np.maximum(sizes - 1, 0)
    names, taken = ["train", *shares], [0] * len(units.sizes)  # taken: the place of each unit's split in names
    for number, share in enumerate(shares.values(), start=1):
        quota = _allocate(sizes, share, room)
        room = room - quota + _take(units, taken, number, quota.tolist())
    if task != "regression":
        return_lost_labels(units.of_row, taken, combinations_of(values))
    split_of_row = np.array(taken)[units.of_row]
    return {name: np.flatnonzero(split_of_row == number) for number, name in enumerate(names)}


def _take(units: _Units, taken: list[int], number: int, quota: list[int]) -> list[int]:
    """Gives units that are left to a split, as long as its quota of their stratum lasts; returns what is left of it."""
    for unit, (size, stratum) in enumerate(zip(units.sizes, units.strata, strict=True)):
        if not taken[unit] and size <= quota[stratum]:
            taken[unit] = number
            quota[stratum] -= size
    return quota


def draw(values: Sequence[Label], texts: Sequence[Text], task: Task, count: int, seed: int) -> np.ndarray:
    """Places of `count` rows (all where there are fewer), stratified, ascending; at least one of each stratum where
    `count` allows."""
    if count >= len(values):
        return np.arange(len(values))
    strata = find_strata(values, task)
    sizes = np.bincount(strata)
    quota = _allocate(sizes, count / len(values), sizes)
    if count >= len(sizes):
        for stratum in np.flatnonzero(quota == 0):
            quota[quota.argmax()] -= 1
            quota[stratum] = 1
    return drawn(strata, texts, quota, seed)


def draw_per_class(values: Sequence[Label], texts: Sequence[Text], count: int, seed: int) -> np.ndarray:
    """Places of at most `count` rows of each class, ascending; a class with fewer keeps them all."""
    strata = find_strata(values, "classification")
    return drawn(strata, texts, np.minimum(np.bincount(strata), count), seed)


def drawn(strata: np.ndarray, texts: Sequence[Text], quota: np.ndarray, seed: int) -> np.ndarray:
    """Places of so many rows of each stratum, by the hashes of their texts; equal texts by their turn."""
    strata, quota = strata.tolist(), quota.tolist()
    chosen = []
    for place in text_order(texts, seed).tolist():
        if quota[strata[place]] > 0:
            quota[strata[place]] -= 1
            chosen.append(place)
    return np.array(sorted(chosen), dtype=np.int64)


def text_order(texts: Sequence[Text], seed: int) -> np.ndarray:
    """Places of all rows, int64 (n,), by the hashes of seed and text; equal texts by their turn."""
    seen: Counter[Text] = Counter()
    keys = []
    for text in texts:
        keys.append(text_key(seed, (*text, str(seen[text]))))
        seen[text] += 1
    return np.array(sorted(range(len(keys)), key=keys.__getitem__), dtype=np.int64)


def _units(texts: Sequence[Text], strata: np.ndarray, seed: int) -> _Units:
    number: dict[Text, int] = {}
    found = np.array([number.setdefault(text, len(number)) for text in texts])
    keys = np.fromiter((text_key(seed, text) for text in number), dtype="S32", count=len(number))
    rank = np.empty(len(keys), dtype=np.int64)
    rank[np.argsort(keys, kind="stable")] = np.arange(len(keys))
    of_row = rank[found]
    lowest = np.full(len(keys), strata.max())
    np.minimum.at(lowest, of_row, strata)
    return _Units(of_row, np.bincount(of_row).tolist(), lowest.tolist())


def text_key(seed: int, text: Text) -> bytes:
    """What a text is ordered by: 32 bytes of sha256 over seed and text."""
    parts = [str(seed).encode()]
    for part in text:
        encoded = part.encode()
        parts += [len(encoded).to_bytes(8, "little"), encoded]
    return hashlib.sha256(b"".join(parts)).digest()


def _allocate(sizes: np.ndarray, share: float, room: np.ndarray) -> np.ndarray:
    """Rows per stratum by largest remainder: they sum to round(n * share) where room allows, each within one row of
    its share."""
    # Rounding guards floor() against products such as 0.15 * 20 = 3.0000000000000004 or 2.9999999999999996.
    ideal = np.round(sizes * share, 9)
    quota = np.minimum(np.floor(ideal).astype(np.int64), room)
    left = int(np.floor(np.round(sizes.sum() * share, 9) + 0.5)) - int(quota.sum())
    order = np.argsort(-(ideal - np.floor(ideal)), kind="stable")
    for stratum in [index for index in order if quota[index] < room[index] and ideal[index] > quota[index]][:left]:
        quota[stratum] += 1
    return quota


def return_lost_labels(of_row: np.ndarray, taken: list[int], labels: Sequence[Text]) -> None:
    """Gives a unit back to train for each label that train would not have: only where rows go together or labels mix.

    Args:
        of_row: the unit of each row, int64 (n,).
        taken: the number of each unit's split, 0 for train; it is changed.
        labels: those of each row.
    """
    stays = np.array(taken)[of_row] == 0
    kept = {label for names in set(compress(labels, stays.tolist())) for label in names}
    lost = {names for names in set(labels) if not kept.issuperset(names)}
    held: dict[int, set[str]] = defaultdict(set)  # by the units with labels that train does not have
    for row, names in enumerate(labels) if lost else ():
        if names in lost:
            held[int(of_row[row])].update(names)
    for unit in sorted(held):
        if held[unit] - kept:
            taken[unit] = 0
            kept |= held[unit]
