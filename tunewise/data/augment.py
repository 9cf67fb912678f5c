"""Training texts with other words in each epoch: some left out, neighbours swapped, some replaced.

Random deletion and swap as in EDA (Wei and Zou 2019, "EDA: easy data augmentation techniques for boosting performance
on text classification tasks"), but that only neighbours are swapped; replaced words as in Kobayashi (2018), "Contextual
augmentation". What becomes of a row follows from seed, epoch and the row's place alone.

Shape legend: W words of a text.
"""

from __future__ import annotations

from collections.abc import Callable, Sequence

import numpy as np

from tunewise.data.augment_settings import AugmentConfig
from tunewise.data.sentences import parted, words_of
from tunewise.data.tags import OUTSIDE

_WORDS_OF_A_ROW = 11  # keeps these random numbers apart from all others of the same seed

Replace = Callable[[int, list[str], np.ndarray], list[str]]
"""(which text of the row, its words, which of them to replace as bool (W,)) -> the words afterwards, as many."""


def row_generator(seed: int, epoch: int, row: int) -> np.random.Generator:
    """The random numbers of a row in an epoch."""
    return np.random.default_rng([seed, epoch, row, _WORDS_OF_A_ROW])


def augmented_texts(
    texts: tuple[str, ...],
    config: AugmentConfig,
    generator: np.random.Generator,
    replace: Replace | None = None,
) -> tuple[str, ...]:
    """The texts of a row (one, or two of a pair, each by itself) with other words; the very same where the row is not
    of the share that is augmented, or nothing was drawn.

    Args:
        replace: gives words in the place of others; needed for `synonyms`.
    """
    if generator.random() >= config.share:
        return texts
    found = []
    for place, text in enumerate(texts):
        words = parted(text)
        free_W = np.ones(len(words), dtype=bool)
        changed, order = _changed(place, words, free_W, config, generator, replace)
        changed = [changed[at] for at in order]
        found.append(text if changed == words else " ".join(changed))
    return tuple(found)


def augmented_sentence(
    text: str,
    tags: Sequence[str],
    config: AugmentConfig,
    generator: np.random.Generator,
    replace: Replace | None = None,
) -> tuple[str, tuple[str, ...]]:
    """Words and their tags in IOB2, changed together: a word is left out with its tag, and what is left of an entity
    begins with B; only words outside of entities are swapped or replaced."""
    if generator.random() >= config.share:
        return text, tuple(tags)
    words = words_of(text)
    free_W = np.array([tag == OUTSIDE for tag in tags], dtype=bool)
    changed, order = _changed(0, words, free_W, config, generator, replace)
    return " ".join(changed[at] for at in order), reordered_tags(tags, order)


def reordered_tags(tags: Sequence[str], order: Sequence[int]) -> tuple[str, ...]:
    """The IOB2 tags of the words at these places: I- where the word before it is of the same entity as it was, else
    B-."""
    entity_of, count = [], 0
    for tag in tags:
        count += tag[:2] != "I-"
        entity_of.append(count)
    found, before = [], None
    for at in order:
        goes_on = tags[at][:2] == "I-" and entity_of[at] == before
        found.append(f"B-{tags[at][2:]}" if tags[at][:2] == "I-" and not goes_on else tags[at])
        before = entity_of[at]
    return tuple(found)


def _changed(
    place: int,
    words: list[str],
    free_W: np.ndarray,
    config: AugmentConfig,
    generator: np.random.Generator,
    replace: Replace | None,
) -> tuple[list[str], np.ndarray]:
    """The words, some of them replaced, and the places of those that are left, in their new order."""
    if config.synonyms and replace is not None:
        chosen_W = (generator.random(len(words)) < config.synonyms) & free_W
        words = replace(place, words, chosen_W)
    order = np.arange(len(words))
    if config.word_swap:
        order = swapped(free_W, config.word_swap, generator)
    if config.word_dropout:
        order = order[kept(len(words), config.word_dropout, generator)[order]]
    return words, order


def kept(count: int, probability: float, generator: np.random.Generator) -> np.ndarray:
    """Which of so many words stay, bool (W,): each is left out with the probability, but where that would be all of
    them one stays, any with the same probability."""
    kept_W = generator.random(count) >= probability
    if count and not kept_W.any():
        kept_W[generator.integers(count)] = True
    return kept_W


def swapped(free_W: np.ndarray, probability: float, generator: np.random.Generator) -> np.ndarray:
    """The places of words in their new order, int64 (W,): from the left, a word and the next, both free, change places
    with the probability, and the walk goes on behind them."""
    order, draws_W, at = np.arange(len(free_W)), generator.random(len(free_W)), 0
    while at + 1 < len(free_W):
        if free_W[at] and free_W[at + 1] and draws_W[at] < probability:
            order[at], order[at + 1] = at + 1, at
            at += 1
        at += 1
    return order
