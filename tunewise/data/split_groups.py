"""Which rows train, which validate, which test, where whole groups stay on one side: as near to the shares, and as
near to those of each class, as groups allow."""

from __future__ import annotations

from collections import defaultdict
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from hashlib import sha256

import numpy as np

from tunewise.data.groups import Groups
from tunewise.data.labels import Label
from tunewise.data.split import Text, combinations_of, find_strata, return_lost_labels, text_key
from tunewise.types import Task

ROUNDS = 20
"""How often each unit may change sides. Most splits are settled after three."""

TRIALS = 200_000
"""Pairs of units that may be tried for a swap, which takes 0.3 s. Where there are so many units that this is soon used
up, they are small beside the split, which comes near to its share without swaps."""

LEAST = 1e-9
"""What a change has to gain at least, in squared rows."""


@dataclass(frozen=True)
class Units:
    """Rows that go together: a group, with every group and row that shares a text with it.

    Numbered in the order of a hash of all their texts. `of_row` is the unit of each row, int64 (n,); `strata` are
    of each unit the pairs of stratum and number of rows.
    """

    of_row: np.ndarray
    strata: list[list[tuple[int, int]]]

    @property
    def sizes(self) -> list[int]:
        """Rows of each unit."""
        return np.bincount(self.of_row).tolist()


def assign_groups(
    units: Units, values: Sequence[Label], task: Task, shares: Mapping[str, float]
) -> dict[str, np.ndarray]:
    """Places of the rows of each split, int64 and ascending: those in `shares`, and `train`, which gets the rest.

    Every split is filled by itself: in their order, units change sides, and two are swapped, as long as that lessens
    the sum of the squared distances, in rows, of all strata and of their total from what the share asks for. In the end
    no single unit can be moved to come nearer: where there is one stratum, the split misses its share by at most half
    of any unit that it could take or give back. Train keeps a row of every stratum and label.

    Args:
        values: the labels of the rows.
        shares: share of all rows of each split that is cut off; together below 1.
    """
    total = np.zeros(1 + max(stratum for held in units.strata for stratum, _ in held), dtype=np.int64)
    for stratum, count in (pair for held in units.strata for pair in held):
        total[stratum] += count
    left, taken = total.tolist(), [0] * len(units.strata)
    for number, share in enumerate(shares.values(), start=1):
        _fill(units, taken, number, (total * share).tolist(), left)
    if task != "regression":
        return_lost_labels(units.of_row, taken, combinations_of(values))
    split_of_row = np.array(taken)[units.of_row]
    return {name: np.flatnonzero(split_of_row == number) for number, name in enumerate(["train", *shares])}


def find_units(texts: Sequence[Text], groups: Groups, values: Sequence[Label], task: Task, seed: int) -> Units:
    """The units of rows, by union of equal groups and equal texts."""
    strata = find_strata(values, task)
    parent = list(range(len(texts)))

    def root(row: int) -> int:
        while parent[row] != row:
            parent[row] = parent[parent[row]]
            row = parent[row]
        return row

    first: dict[tuple[str, object], int] = {}
    for row, (text, group) in enumerate(zip(texts, groups, strict=True)):
        for key in (("text", text), ("group", group)):
            if key != ("group", None):
                parent[root(row)] = root(first.setdefault(key, row))
    keys: dict[int, list[bytes]] = defaultdict(list)
    for text in set(texts):
        keys[root(first["text", text])].append(text_key(seed, text))
    # Not the lowest key of a unit: large units would come first.
    order = sorted(keys, key=lambda unit: sha256(b"".join(sorted(keys[unit]))).digest())
    number = {unit: place for place, unit in enumerate(order)}
    of_row = np.array([number[root(row)] for row in range(len(texts))], dtype=np.int64)
    width = int(strata.max()) + 1
    held: list[list[tuple[int, int]]] = [[] for _ in number]
    for pair, count in zip(*np.unique(of_row * width + strata, return_counts=True), strict=True):
        held[int(pair) // width].append((int(pair) % width, int(count)))
    return Units(of_row, held)


def _fill(units: Units, taken: list[int], number: int, asked: list[float], left: list[int]) -> None:
    """Moves units between train and a split until no move brings it nearer to what is asked of each stratum.

    `left`, the rows of each stratum that train has, and `taken` are brought up to date.
    """
    filling = _Filling(units, taken, number, [*asked, sum(asked)], left)
    filling.move_all()
    trials = TRIALS
    while trials > 0 and (tried := filling.swap_one(trials)):
        trials -= tried
        filling.move_all()
    free = [unit for unit, split in enumerate(taken) if not split and filling.spared(unit)]
    if number not in taken and free:  # every group is too large by far: the one that harms least
        filling.move(max(free, key=lambda unit: filling.gain(unit, 1)), 1)


class _Filling:
    """A split that is being filled from train; `lack` is what it lacks of each stratum, and of all rows."""

    def __init__(self, units: Units, taken: list[int], number: int, lack: list[float], left: list[int]):
        self.strata, self.taken, self.number, self.lack, self.left = units.strata, taken, number, lack, left
        self.parts = [[*held, (len(lack) - 1, sum(count for _, count in held))] for held in units.strata]

    def gain(self, unit: int, way: int) -> float:
        """What the sum of squares loses when a unit joins the split (way 1) or goes back to train (-1)."""
        return sum(count * (2 * way * self.lack[stratum] - count) for stratum, count in self.parts[unit])

    def move(self, unit: int, way: int) -> None:
        self.taken[unit] = self.number if way == 1 else 0
        for stratum, count in self.parts[unit]:
            self.lack[stratum] -= way * count
        for stratum, count in self.strata[unit]:
            self.left[stratum] -= way * count

    def spared(self, unit: int) -> bool:
        """Whether train has other rows of each of its strata."""
        return all(self.left[stratum] > count for stratum, count in self.strata[unit])

    def move_all(self) -> None:
        """Moves every unit that brings the split nearer, round after round."""
        for _ in range(ROUNDS):
            moved = False
            for unit, split in enumerate(self.taken):
                way = {0: 1, self.number: -1}.get(split, 0)
                if way and self.gain(unit, way) > LEAST and (way == -1 or self.spared(unit)):
                    self.move(unit, way)
                    moved = True
            if not moved:
                return

    def swap_one(self, trials: int) -> int:
        """Swaps a unit of the split with that of train that gains most; how many pairs were tried, 0 if none gains."""
        free = [unit for unit, split in enumerate(self.taken) if not split]
        tried = 0
        for unit in [unit for unit, split in enumerate(self.taken) if split == self.number]:
            tried += len(free)
            if not free or tried > trials:
                break
            lost = self.gain(unit, -1)
            self.move(unit, -1)
            best = max(free, key=lambda other: self.gain(other, 1))
            if lost + self.gain(best, 1) > LEAST and self.spared(best):
                self.move(best, 1)
                return tried
            self.move(unit, 1)
        return 0
