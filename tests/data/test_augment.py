"""Words left out, swapped and replaced: by their probabilities, seeded, and together with their tags."""

from __future__ import annotations

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st
from pydantic import ValidationError

from tunewise.data.augment import (
    augmented_sentence,
    augmented_texts,
    kept,
    reordered_tags,
    row_generator,
    swapped,
)
from tunewise.data.augment_settings import AugmentConfig
from tunewise.data.tags import Tags, with_beginnings

PROBABILITY = st.floats(0, 0.99)
WORDS = st.lists(st.sampled_from(["a", "b", "c", "d"]), max_size=12)
TAGGED = st.lists(st.sampled_from(["O", "B-x", "I-x", "B-y", "I-y"]), min_size=1, max_size=12).map(
    lambda tags: with_beginnings(Tags(tags))[0]
)


@given(st.integers(0, 30), PROBABILITY, st.integers(0, 10**6))
def test_some_word_is_always_left(count: int, p: float, seed: int) -> None:
    found = kept(count, p, np.random.default_rng(seed))
    assert found.shape == (count,) and (count == 0 or found.any())
    assert kept(count, 0.0, np.random.default_rng(seed)).all()


@pytest.mark.parametrize(("count", "p"), [(8, 0.1), (3, 0.5), (1, 0.9)])
def test_words_are_left_out_with_their_probability(count: int, p: float) -> None:
    """p, less the case of all, which spares one of them: p - p^n / n."""
    generator, draws = np.random.default_rng(0), 20_000
    left = sum((~kept(count, p, generator)).astype(int) for _ in range(draws)) / draws
    expected = p - p**count / count
    assert np.abs(left - expected).max() <= 4 * np.sqrt(max(expected, 1e-9) / draws)


@given(st.lists(st.booleans(), max_size=20), st.floats(0, 1), st.integers(0, 10**6))
def test_swaps_are_of_free_neighbours(free: list[bool], p: float, seed: int) -> None:
    order = swapped(np.array(free, dtype=bool), p, np.random.default_rng(seed))
    places = np.arange(len(free))
    assert sorted(order) == list(places)
    assert (np.abs(order - places) <= 1).all()
    moved = order != places
    assert all(free[place] for place in np.flatnonzero(moved))
    assert p > 0 or not moved.any()


def test_swaps_happen_with_their_probability() -> None:
    free, generator = np.ones(2, dtype=bool), np.random.default_rng(0)
    share = np.mean([swapped(free, 0.3, generator)[0] == 1 for _ in range(20_000)])
    assert share == pytest.approx(0.3, abs=0.013)
    assert swapped(np.ones(5, dtype=bool), 1.0, generator).tolist() == [1, 0, 3, 2, 4]


@given(WORDS, WORDS, st.integers(0, 50), st.integers(0, 5))
def test_a_row_follows_from_seed_epoch_and_place(one: list[str], other: list[str], seed: int, epoch: int) -> None:
    texts = (" ".join(one), " ".join(other))
    config = AugmentConfig(word_dropout=0.3, word_swap=0.3)
    found, again = (augmented_texts(texts, config, row_generator(seed, epoch, 4)) for _ in range(2))
    assert found == again
    for text, before in zip(found, (one, other), strict=True):
        left = list(before)
        for word in text.split():
            left.remove(word)  # each text keeps words of its own, none more often than it had it
        assert bool(text) == bool(before)


def test_epochs_rows_and_seeds_differ() -> None:
    texts = (" ".join(f"w{number}" for number in range(40)),)
    config = AugmentConfig(word_dropout=0.2, word_swap=0.2, share=1.0)
    numbers = [(0, 0, 0), (0, 0, 1), (0, 1, 0), (1, 0, 0)]
    assert len({augmented_texts(texts, config, row_generator(*number)) for number in numbers}) == 4


def test_the_share_of_rows_is_that_of_the_recipe() -> None:
    texts, config = ("a b c d e f g h",), AugmentConfig(word_swap=1.0, share=0.25)
    changed = [augmented_texts(texts, config, row_generator(0, 0, row)) != texts for row in range(4000)]
    assert np.mean(changed) == pytest.approx(0.25, abs=0.03)


def test_a_row_that_is_not_changed_keeps_its_very_text() -> None:
    text = "two  spaces,\tand a tab"
    assert augmented_texts((text,), AugmentConfig(word_dropout=1e-9, share=1.0), row_generator(0, 0, 0)) == (text,)


def test_tags_by_hand() -> None:
    tags = ("B-x", "I-x", "I-x", "B-x", "I-x", "O")
    assert reordered_tags(tags, [1, 2, 5]) == ("B-x", "I-x", "O")
    assert reordered_tags(tags, [0, 2, 4]) == ("B-x", "I-x", "B-x")  # the last is of another entity
    assert reordered_tags(tags, range(6)) == tags


@given(TAGGED, st.integers(0, 1000))
def test_tags_go_with_their_words(tags: Tags, seed: int) -> None:
    """Each word names its own tag and entity, so that nothing can be mixed up unseen."""
    number, words = 0, []
    for place, tag in enumerate(tags):
        number += tag[:2] != "I-"
        words.append(f"{place}:{tag[2:] or 'O'}:{number}")
    config = AugmentConfig(word_dropout=0.4, word_swap=0.4, share=1.0)
    text, found = augmented_sentence(" ".join(words), tags, config, np.random.default_rng(seed))
    left = [word.split(":") for word in text.split()]
    assert 0 < len(left) == len(found)
    assert [kind for _, kind, _ in left] == [tag[2:] or "O" for tag in found]
    assert with_beginnings(Tags(found))[0] == found
    for before, after, tag in zip([[None, "O", None], *left[:-1]], left, found, strict=True):
        assert (tag[:2] == "I-") == (tag != "O" and before[2] == after[2])
    inside = [int(place) for place, kind, _ in left if kind != "O"]
    assert inside == sorted(inside)


def test_replaced_words_are_chosen_among_free_ones() -> None:
    seen = []

    def replace(place: int, words: list[str], chosen: np.ndarray) -> list[str]:
        seen.append(chosen)
        return [word.upper() if there else word for word, there in zip(words, chosen, strict=True)]

    config = AugmentConfig(synonyms=0.5, share=1.0)
    tags = ("O", "B-x", "I-x", "O", "O")
    for seed in range(200):
        text, found = augmented_sentence("a b c d e", tags, config, np.random.default_rng(seed), replace)
        assert found == tags and [word.isupper() for word in text.split()] == seen[-1].tolist()
    share = np.mean(seen, axis=0)
    assert share[[1, 2]].tolist() == [0, 0] and np.abs(share[[0, 3, 4]] - 0.5).max() < 0.15


@pytest.mark.parametrize(
    ("options", "told"),
    [
        ({"word_dropout": 1.0}, "less than 1"),
        ({"word_dropout": -0.1}, "greater than or equal to 0"),
        ({"word_swap": 1.1}, "less than or equal to 1"),
        ({"synonyms": 0.6}, "less than or equal to 0.5"),
        ({"word_swap": 0.1, "share": 0}, "greater than 0"),
        ({"mixup": -1}, "greater than or equal to 0"),
        ({"mixup": 0.2, "share": 0.3}, "share is of rows whose words are changed"),
        ({"word_swap": 0.1, "synonym_top_k": 3}, "are for synonyms"),
        ({"synonym_model": "bert"}, "are for synonyms"),
    ],
)
def test_options_that_cannot_be(options: dict, told: str) -> None:
    with pytest.raises(ValidationError, match=told):
        AugmentConfig(**options)
