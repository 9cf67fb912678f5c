"""Texts that are nearly equal: candidates by MinHash and locality-sensitive hashing, verified by exact similarity.

Two texts are nearly equal where the Jaccard similarity of their runs of three characters (`shingles.py`: without case,
punctuation and runs of spaces) is at least a threshold; of pairs, that of both parts. Candidates are texts whose
MinHash is the same in one of 40 bands of 6 values: of pairs at the threshold 0.7, 1 - (1 - 0.7^6)^40 = 99.3% become
candidates, at 0.75 99.96%; those that are not similar enough are then left out by the exact figure.

Shape legend: n texts, H = 240 hash functions, B = 40 bands.
"""

from __future__ import annotations

from collections import defaultdict
from collections.abc import Callable, Hashable, Sequence
from dataclasses import dataclass

import numpy as np

from tunewise.cleaning.settings import NEAR
from tunewise.cleaning.shingles import Shingles, Text, folded, jaccard, mixed, shingles, signatures

ROWS, BANDS = 6, 40

Progress = Callable[[float], None]


@dataclass(frozen=True, eq=False)
class Sketch:
    """What texts are compared by. Texts that are folded alike are one: `number` (n,) is that of each text, numbered in
    the order of the first of each, and `first` the place of that first one.

    `keys`: uint64 (texts that differ, B), one for each band of their `hashes`: uint32 (texts that differ, H).
    """

    number: np.ndarray
    first: np.ndarray
    sets: Shingles
    hashes: np.ndarray
    keys: np.ndarray


def sketch(texts: Sequence[Text]) -> Sketch:
    """The sketch of each text; one core makes those of 100,000 texts of 100 characters in a few seconds."""
    numbers: dict[Text, int] = {}
    number = np.array([numbers.setdefault(folded(text), len(numbers)) for text in texts], dtype=np.int64)
    first = np.unique(number, return_index=True)[1]
    sets = shingles(list(numbers))
    hashes = signatures(sets, ROWS * BANDS)
    keys = np.empty((len(sets), BANDS), dtype=np.uint64)
    for band in range(BANDS):
        key = np.full(len(sets), band, dtype=np.uint64)
        for column in range(band * ROWS, (band + 1) * ROWS):
            key = mixed(key ^ hashes[:, column])
        keys[:, band] = key
    return Sketch(number, first, sets, hashes, keys)


def near_duplicates(
    texts: Sequence[Text],
    threshold: float = NEAR,
    labels: Sequence[Hashable] | None = None,
    progress: Progress = lambda share: None,
) -> dict[int, int]:
    """Texts that are nearly (or exactly) equal to an earlier one that stays: the place of each -> that of the one that
    stays.

    Those that stay are not nearly equal to each other, so that leaving the others out leaves no near duplicates. Each
    is compared with those that stay alone, never by way of a third: where a is like b and b like c, c goes only where
    it is like a.

    Args:
        labels: only texts of equal labels are compared; all, where left out.
    """
    if not len(texts):
        return {}
    ours = sketch(texts)
    of = labels if labels is not None else (None,) * len(texts)
    buckets = _shared(ours.keys)
    staying: dict[tuple[int, Hashable], list[int]] = defaultdict(list)
    seen: dict[tuple[int, Hashable], int] = {}
    found: dict[int, int] = {}
    for place, (number, label) in enumerate(zip(ours.number.tolist(), of, strict=True)):
        if place % 1000 == 0:
            progress(place / len(texts))
        same = seen.get((number, label))
        if same is None:
            own = buckets[number]
            like = _most_alike(ours, number, ours, _gathered([staying[bucket, label] for bucket in own]), threshold)
            same = seen[number, label] = place if like is None else seen[like, label]
            if like is None:
                for bucket in own:
                    staying[bucket, label].append(number)
        if same != place:
            found[place] = same
    return found


def near_matches(texts: Sketch, known: Sketch, threshold: float = NEAR) -> dict[int, int]:
    """Texts that are nearly (or exactly) equal to a known one: the place of each -> that of the known text that is
    most like it (the first of those that are folded alike)."""
    if not len(texts.number) or not len(known.number):
        return {}
    buckets = _shared(np.concatenate([known.keys, texts.keys]))
    held: dict[int, list[int]] = defaultdict(list)
    for number, own in enumerate(buckets[: len(known.keys)]):
        for bucket in own:
            held[bucket].append(number)
    like: dict[int, int] = {}
    for number, own in enumerate(buckets[len(known.keys) :]):
        match = _most_alike(texts, number, known, _gathered([held[bucket] for bucket in own]), threshold)
        if match is not None:
            like[number] = int(known.first[match])
    return {place: like[number] for place, number in enumerate(texts.number.tolist()) if number in like}


def _shared(keys: np.ndarray) -> list[list[int]]:
    """The buckets of each text that holds another one too, numbered over all bands."""
    rows, numbers = [], []
    offset = 0
    for band in range(keys.shape[1]):
        _, bucket, counts = np.unique(keys[:, band], return_inverse=True, return_counts=True)
        shared = np.flatnonzero(counts[bucket] > 1)
        rows.append(shared)
        numbers.append(bucket[shared] + offset)
        offset += len(counts)
    row, number = np.concatenate(rows), np.concatenate(numbers)
    order = np.argsort(row, kind="stable")
    ends = np.bincount(row, minlength=len(keys)).cumsum()
    return [part.tolist() for part in np.split(number[order], ends[:-1])]


def _gathered(lists: Sequence[list[int]]) -> np.ndarray:
    return np.array(sorted({number for one in lists for number in one}), dtype=np.int64)


def _most_alike(ours: Sketch, number: int, theirs: Sketch, candidates: np.ndarray, threshold: float) -> int | None:
    """The candidate of the highest similarity that MinHash estimates, whose exact one is at least the threshold."""
    if not len(candidates):
        return None
    functions = ours.hashes.shape[1]
    equal = (theirs.hashes[candidates] == ours.hashes[number]).sum(axis=1)
    # Four standard deviations of the estimate below the threshold: 1 pair in 30,000 is missed by it.
    least = functions * threshold - 4 * np.sqrt(functions * threshold * (1 - threshold))
    for place in np.argsort(-equal, kind="stable"):
        if equal[place] < least:
            return None
        if similarity(ours, number, theirs, int(candidates[place])) >= threshold:
            return int(candidates[place])
    return None


def similarity(ours: Sketch, number: int, theirs: Sketch, other: int) -> float:
    """The least Jaccard similarity of the parts of two texts, given by their numbers in the sketches."""
    return min(jaccard(ours.sets.of(number, part), theirs.sets.of(other, part)) for part in range(ours.sets.parts))
