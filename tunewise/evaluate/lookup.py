"""The baselines of token classification: the tags of training words, looked up or all taken together.

Shape legend: n rows, W most words in a row, C tags.
"""

from __future__ import annotations

from collections import defaultdict
from collections.abc import Callable

import numpy as np

from tunewise.data.sentences import words_of
from tunewise.types import Schema, Split

Predict = Callable[[Split], np.ndarray]


def lookup(train: Split, schema: Schema) -> tuple[Predict, int]:
    """Scores (n, W, C) by the tags that each word has in the training rows, as it is written there; and how many
    numbers that is."""
    counts: dict[str, np.ndarray] = defaultdict(lambda: np.zeros(len(schema.labels)))
    for (text,), tags in zip(train.texts, train.targets, strict=True):
        for word, tag in zip(words_of(text), tags, strict=False):
            counts[word][tag] += 1
    shares = {word: row / row.sum() for word, row in counts.items()}
    every_C = _shares(train, schema)
    return lambda split: _scores(split, schema, lambda word: shares.get(word, every_C)), len(shares) * every_C.size


def constant_tags(train: Split, schema: Schema) -> tuple[Predict, int]:
    """Scores (n, W, C): for every word the share of each tag in the training rows."""
    every_C = _shares(train, schema)
    return lambda split: _scores(split, schema, lambda word: every_C), every_C.size


def _shares(train: Split, schema: Schema) -> np.ndarray:
    counts = np.bincount(train.targets[train.targets >= 0], minlength=len(schema.labels))
    return counts / counts.sum()


def _scores(split: Split, schema: Schema, of_word: Callable[[str], np.ndarray]) -> np.ndarray:
    scores = np.full((*split.targets.shape, len(schema.labels)), np.nan)
    for row, (text,) in enumerate(split.texts):
        for place, word in enumerate(words_of(text)):
            scores[row, place] = of_word(word)
    return scores
