"""Rows whose text and label are exactly those of an earlier row."""

from __future__ import annotations

from collections.abc import Hashable, Sequence

from tunewise.cleaning.shingles import Text


def exact_duplicates(texts: Sequence[Text], labels: Sequence[Hashable]) -> dict[int, int]:
    """The place of each row that repeats one -> that of the first row of the same text and label."""
    first: dict[Hashable, int] = {}
    repeats = {}
    for place, pair in enumerate(zip(texts, labels, strict=True)):
        earlier = first.setdefault(pair, place)
        if earlier != place:
            repeats[place] = earlier
    return repeats
