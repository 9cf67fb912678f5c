"""Texts that are nearly equal: against brute force over sets of strings, and planted ones found again."""

from __future__ import annotations

import csv
import random
import re
import string
from functools import cache
from importlib.resources import files

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st

from tunewise.cleaning.near_duplicates import near_duplicates, near_matches, similarity, sketch
from tunewise.cleaning.shingles import folded, shingles, signatures

Text = tuple[str, ...]

# Few letters and words, so that texts are often alike.
WORDS = st.lists(st.sampled_from(["card", "cards", "lost", "my", "I", "lost!", "Ünder", "über", "12", "13", "…"]))
TEXTS = st.lists(WORDS.map(" ".join).filter(str.strip), min_size=1, max_size=12)


@cache
def runs(part: str) -> set[str]:
    """Runs of three characters, by the definition."""
    kept = " ".join(re.findall(r"\w+", part.casefold())) or part.strip()
    padded = f" {kept} ".ljust(3)
    return {padded[place : place + 3] for place in range(len(padded) - 2)}


def alike(ours: Text, theirs: Text) -> float:
    return min(
        len(runs(mine) & runs(other)) / len(runs(mine) | runs(other)) for mine, other in zip(ours, theirs, strict=True)
    )


def by_brute_force(texts: list[Text], threshold: float, labels: list[str] | None = None) -> set[int]:
    """The texts that are like an earlier one that stays."""
    staying: list[int] = []
    for place, text in enumerate(texts):
        rivals = [other for other in staying if labels is None or labels[other] == labels[place]]
        if not any(alike(text, texts[other]) >= threshold for other in rivals):
            staying.append(place)
    return set(range(len(texts))) - set(staying)


@given(TEXTS, TEXTS)
def test_similarity_is_that_of_sets_of_strings(first, second):
    pairs = list(zip(first, second, strict=False))
    found = sketch(pairs)
    for place, pair in enumerate(pairs):
        for other, rival in enumerate(pairs):
            ours = similarity(found, int(found.number[place]), found, int(found.number[other]))
            assert ours == pytest.approx(alike(pair, rival), abs=1e-12)


def test_similarity_by_hand():
    # " lost card " has 9 runs, " lost cards " 10; they share all but "rd ", and "rds" and "ds ": 8 of 11.
    found = sketch([("Lost card!",), ("lost  cards",)])
    assert similarity(found, 0, found, 1) == pytest.approx(8 / 11)


@given(TEXTS)
def test_what_stays_is_not_alike_and_what_goes_is_like_its_own(rows):
    texts = [(row,) for row in rows]
    found = near_duplicates(texts, 0.7)
    staying = [place for place in range(len(texts)) if place not in found]
    for place, earlier in found.items():
        assert earlier in staying and earlier < place
        assert alike(texts[place], texts[earlier]) >= 0.7
    equal = {folded(text) for text in texts}
    assert len({folded(texts[place]) for place in staying}) == len(staying) <= len(equal)


@pytest.mark.parametrize("threshold", [0.6, 0.7, 0.85])
def test_as_brute_force_finds_them_in_real_messages(threshold):
    texts = [(text,) for text in edited_messages(120)[0]]
    assert len(texts) == 240
    wanted, found = by_brute_force(texts, threshold), set(near_duplicates(texts, threshold))
    assert len(wanted) > 30
    # Near the threshold 0.6, 1 - (1 - 0.6^6)^40 = 85% of pairs become candidates; from 0.7 on, 99.3%.
    assert len(wanted ^ found) <= (0.1 if threshold < 0.7 else 0.01) * len(wanted)


def test_pairs_are_alike_where_both_parts_are():
    premise = "A man in a blue coat walks along the river with two small dogs on a long rope."
    texts = [(premise, "He is outdoors."), (premise, "He is asleep at home."), (premise.upper(), "he is outdoors")]
    assert near_duplicates(texts) == {2: 0}
    swapped = [("one text that stands here", "and another there"), ("and another there", "one text that stands here")]
    assert near_duplicates(swapped) == {}


def test_only_rows_of_equal_labels_are_repeats():
    texts = [("Where is my card?",), ("where is my card",), ("Where is my card!",), ("Where is my card",)]
    assert near_duplicates(texts, labels=["a", "b", "a", "b"]) == {2: 0, 3: 1}
    assert near_duplicates(texts) == {1: 0, 2: 0, 3: 0}


def test_a_chain_does_not_pull_unlike_texts_together():
    whole = "the quick brown fox jumps over the lazy dog near the old stone bridge and runs home to its den"
    texts = [(whole[:70],), (whole[16:84],), (whole[31:],)]
    assert alike(texts[0], texts[1]) > 0.5 > alike(texts[0], texts[2])
    assert alike(texts[1], texts[2]) > 0.5
    assert near_duplicates(texts, 0.5) == {1: 0}


def test_texts_without_letters_are_compared_by_their_signs():
    assert near_duplicates([("😀😀",), ("!!!",), ("😀😀 ",), ("???",)]) == {2: 0}


def test_matches_are_found_in_known_texts():
    known = [("My card was lost on the way",), ("Please close the account",)]
    asked = [("please, close the account!",), ("I want a refund",), ("My card was lost on the way home",)]
    assert near_matches(sketch(asked), sketch(known)) == {0: 1, 2: 0}
    assert near_matches(sketch(asked), sketch([])) == {} == near_matches(sketch([]), sketch(known))
    assert near_duplicates([]) == {}


def test_minhash_estimates_similarity():
    messages, sources = edited_messages(200)
    found = sketch([(text,) for text in messages])
    errors = []
    for place in range(200, 400):
        one, other = int(found.number[place]), int(found.number[sources[place]])
        exact = similarity(found, one, found, other)
        errors.append(float((found.hashes[one] == found.hashes[other]).mean()) - exact)
    # Of 240 functions the standard deviation is at most 0.5 / sqrt(240) = 0.032.
    assert abs(np.mean(errors)) < 0.01
    assert np.std(errors) < 0.035


def test_the_order_of_rows_within_a_call_changes_no_hash():
    texts = [folded((text,)) for text in edited_messages(50)[0]]
    forward, backward = signatures(shingles(texts), 12), signatures(shingles(texts[::-1]), 12)
    assert (forward == backward[::-1]).all()


# ---------------------------------------------------------------- planted ones


def messages() -> list[str]:
    with (files("tunewise.data") / "examples/customer_messages.csv").open(encoding="utf-8", newline="") as file:
        return [row["text"] for row in csv.DictReader(file)]


def edited_messages(count: int, seed: int = 0) -> tuple[list[str], dict[int, int]]:
    """So many messages, then an edited copy of each; and the place of the original of each copy."""
    draw = random.Random(seed)
    texts = draw.sample([text for text in messages() if len(text) >= 40], count)
    return texts + [edit(text, draw) for text in texts], {count + place: place for place in range(count)}


def edit(text: str, draw: random.Random) -> str:
    """A realistic near duplicate: other case, punctuation and spaces; a typing error, or two; a word exchanged, left
    out, or added."""
    words = text.split()
    place = draw.randrange(len(words))
    kind = draw.randrange(6)
    if kind == 0:
        return text.upper().replace(",", " ,").rstrip(".!?") + " !!"
    if kind == 1:
        return typo(text, draw)
    if kind == 2:
        return typo(typo(text, draw), draw)
    if kind == 3:
        return " ".join([*words[:place], draw.choice(messages()).split()[0], *words[place + 1 :]])
    if kind == 4:
        return " ".join([*words[:place], *words[place + 1 :]])
    return f"{text} {draw.choice(['Thanks.', 'Please help me.', 'Thank you very much!', 'Any news?'])}"


def typo(text: str, draw: random.Random) -> str:
    place = draw.randrange(len(text))
    letter = draw.choice(string.ascii_lowercase)
    return text[:place] + draw.choice(["", letter, letter + text[place]]) + text[place + 1 :]


def test_planted_near_duplicates_are_found_and_hardly_anything_else(capsys):
    texts, sources = edited_messages(500, seed=3)
    found = near_duplicates([(text,) for text in texts])
    right = sum(sources.get(place) == earlier for place, earlier in found.items())
    recall, precision = right / len(sources), right / len(found)
    with capsys.disabled():
        print(f"\nnear duplicates of example messages: recall {recall:.3f}, precision {precision:.3f}")
    assert recall >= 0.95
    assert precision >= 0.95


def test_templates_are_near_duplicates_by_their_similarity_alone():
    texts = [(f"Order {number} arrives on Monday.",) for number in (11111, 22222)]
    long = [
        (f"{text[0]} Please be at home between nine and twelve, since the parcel needs a signature.",) for text in texts
    ]
    assert alike(*texts) < 0.7 < alike(*long)
    assert near_duplicates(texts) == {}
    assert near_duplicates(long) == {1: 0}


@pytest.mark.slow
def test_many_texts_of_one_template_take_no_time_of_their_square():
    import time

    begun = time.process_time()
    texts = [
        (f"Your parcel {number:08d} will arrive tomorrow, please be at home to sign for it",)
        for number in range(50_000)
    ]
    assert len(near_duplicates(texts)) == 49_999
    assert time.process_time() - begun < 40
