"""Which texts hold the name of a label, word for word."""

from __future__ import annotations

import re
from collections.abc import Iterator, Sequence

import numpy as np

_LEAST = 3  # letters of a name, below which it is a word like others
_WORD = re.compile(r"[^\W_]+")


def names_in_texts(labels: Sequence[str], texts: Sequence[tuple[str, ...]]) -> Iterator[np.ndarray | None]:
    """For each label, whether each text holds its name, bool (n,): its words one after the other, without case and
    punctuation (`lost_card` is in "My Lost card!"). None for a name of fewer than three letters, or without any."""
    words = [f" {' '.join(_words(' '.join(parts)))} " for parts in texts]
    for label in labels:
        name = " ".join(_words(label))
        if sum(map(str.isalpha, name)) < _LEAST:
            yield None
        else:
            yield np.fromiter((f" {name} " in text for text in words), dtype=bool, count=len(words))


def _words(text: str) -> list[str]:
    return _WORD.findall(text.casefold())
