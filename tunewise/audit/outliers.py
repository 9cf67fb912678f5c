"""Texts that are unlike the others of their split: far longer or shorter, without letters, one word again and again."""

from __future__ import annotations

from collections import Counter
from collections.abc import Iterator

import numpy as np

from tunewise.audit.finding import Finding
from tunewise.audit.found import found_in_rows, told_by_kind
from tunewise.audit.view import View
from tunewise.types import Split

FAR = 5.0
"""Modified z-score of the logarithm of the length from which on a text is an outlier: 0.6745 |x - median| / MAD
(Iglewicz and Hoaglin 1993, who recommend 3.5)."""

FEW_LETTERS = 0.2
"""Share of letters among the characters that are no space, below which a text hardly holds any."""

MOST = 0.8
"""Share of a text's words that are one word."""

_ROWS = 20  # of a split from which a usual length can be told
_LEAST_SPREAD = 0.1  # of the logarithm: lengths within about 10% of each other are never far


def find(view: View) -> Iterator[Finding]:
    """One finding for each split, with how many rows are unusual in each way (some are in several)."""
    for split in view.data.splits.values():
        lengths = _lengths(split)
        found = _unusual(split, lengths)
        if not found:
            continue
        counts, told = told_by_kind(found)
        middle = int(np.median(lengths))
        notes = {place: f"{', '.join(kinds)}; {lengths[place]:,} characters" for place, kinds in found.items()}
        yield found_in_rows(
            "outliers",
            split,
            notes,
            what=f"{len(found):,} of {len(split):,} rows are unusual: {told} "
            f"(half of the texts have up to {middle:,} characters)",
            fix="look at them: rows that slipped in by mistake are better left out",
            details={**counts, "median_characters": middle},
        )


def _unusual(split: Split, lengths: np.ndarray) -> dict[int, tuple[str, ...]]:
    scores = far_lengths(lengths)
    found = {}
    for place, parts in enumerate(split.texts):
        kinds = dict.fromkeys(kind for part in parts if (kind := strange(part)))
        if abs(scores[place]) > FAR:
            kinds["far longer" if scores[place] > 0 else "far shorter"] = None
        if kinds:
            found[place] = tuple(kinds)
    return found


def _lengths(split: Split) -> np.ndarray:
    return np.array([sum(len(part.strip()) for part in parts) for parts in split.texts])


def far_lengths(lengths: np.ndarray) -> np.ndarray:
    """The modified z-score of the logarithm of each length, with its sign, float64 (n,); 0 of a few lengths."""
    if len(lengths) < _ROWS:
        return np.zeros(len(lengths))
    logs = np.log(np.maximum(lengths, 1))
    distance = logs - np.median(logs)
    return 0.6745 * distance / max(float(np.median(np.abs(distance))), _LEAST_SPREAD)


def _letters(characters: str) -> int:
    return sum(map(str.isalpha, characters))


def strange(text: str) -> str | None:
    """In which way a text is no ordinary one, whatever the others are."""
    characters = "".join(text.split())
    words = text.casefold().split()
    if len(characters) >= 5 and len(set(characters.casefold())) == 1:
        return "one character again and again"
    if len(words) >= 5 and max(Counter(words).values()) >= MOST * len(words):
        return "one word again and again"
    if characters and not characters.isalpha() and _letters(characters) < FEW_LETTERS * len(characters):
        return "hardly any letters"
    return None
