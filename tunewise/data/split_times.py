"""Which rows train, which validate, which test, by time: the latest are tested, those before them validated."""

from __future__ import annotations

from collections import Counter
from collections.abc import Mapping, Sequence

import numpy as np

from tunewise.data.groups import Groups
from tunewise.data.times import Time


def latest_of_groups(times: Sequence[Time], groups: Groups) -> list[Time]:
    """For each row the latest time of its group; its own where it has no group."""
    latest: dict[str | None, Time] = {}
    for time, group in zip(times, groups, strict=True):
        if group is not None:
            latest[group] = max(time, latest.get(group, time))
    return [time if group is None else latest[group] for time, group in zip(times, groups, strict=True)]


def cut_by_time(times: Sequence[Time], shares: Mapping[str, float]) -> dict[str, np.ndarray]:
    """Places of the rows of each split, int64 and ascending: of those in `shares` the first gets the latest rows, the
    next those before them; `train` gets the rest.

    Rows of equal time stay on one side: of the borders between two times, the one that comes nearest to the share is
    taken, of two the later one. Every split has a row.

    Args:
        times: at least one distinct time for each split.
        shares: share of all rows of each split that is cut off; together below 1.
    """
    counts = sorted(Counter(times).items())
    split_of: dict[Time, str] = {}
    for place, (name, share) in enumerate(shares.items()):
        for_others = len(shares) - place  # one time for each split to come, and for train
        best, rows, asked = 1, 0, asked_rows(len(times), share)
        nearest = None
        for many in range(1, len(counts) - for_others + 1):
            rows += counts[-many][1]
            if nearest is None or abs(rows - asked) < nearest:
                best, nearest = many, abs(rows - asked)
        split_of |= {time: name for time, _ in counts[-best:]}
        del counts[-best:]
    names = np.array([split_of.get(time, "train") for time in times])
    return {name: np.flatnonzero(names == name) for name in ("train", *shares)}


def asked_rows(count: int, share: float) -> int:
    """The rows that a share is, to the nearest."""
    return int(round(count * share, 9) + 0.5)
