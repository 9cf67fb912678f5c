"""Nearly repeated rows and nearly leaked ones: which rows, and not those that are exactly equal."""

from __future__ import annotations

import pytest
from checked_data import found, split
from pydantic import ValidationError

from tunewise.audit.settings import CheckConfig

TEXTS = [
    "Where is the card that I ordered two weeks ago?",
    "I would like to close my account, please.",
    "where is the card that I ordered 2 weeks ago",
    "Where is the card that I ordered two weeks ago?",
    "The exchange rate of my payment is wrong.",
    "i would like to close my account",
]


def test_near_repeats_of_one_label_are_found_and_exact_ones_are_not_counted():
    (finding,) = found("near_duplicates", split(TEXTS, [0, 0, 0, 0, 1, 1]))
    assert (finding.split, finding.rows, finding.of) == ("train", (3,), 6)
    assert finding.what.startswith("1 of 6 rows have the label of an earlier row and nearly its text")
    assert finding.examples[0].note == "nearly row 1: 'Where is the card that I ordered two weeks ago?'"
    assert finding.details == {"texts": 1, "similarity": 0.7}
    (both,) = found("near_duplicates", split(TEXTS, [0] * 6))
    assert both.rows == (3, 6)


def test_numbers_are_labels_too():
    texts = [TEXTS[0], TEXTS[2], TEXTS[2]]
    assert not found("near_duplicates", split(texts[:2], [0.5, 0.7], dtype=float), task="regression")
    (finding,) = found("near_duplicates", split(texts[:2], [0.5, 0.5], dtype=float), task="regression")
    assert finding.rows == (2,)


def test_the_recipe_says_how_alike():
    assert not found("near_duplicates", split(TEXTS, [0] * 6), near=0.99)
    with pytest.raises(ValidationError):
        CheckConfig(near=0.3)


def test_near_leakage_of_each_pair_of_splits():
    train = split(TEXTS[:2])
    validation = split(["A text that is here alone", TEXTS[0]], name="validation")
    test = split([TEXTS[4], TEXTS[5], "a text that is here, alone!", TEXTS[2], TEXTS[0]], name="test")
    first, second = found("near_leakage", train, validation, test)
    assert (first.split, first.rows, first.details["also_in"]) == ("test", (2, 4), "train")
    assert first.examples[0].note.startswith("nearly row 2 of train: ")
    assert (second.split, second.rows, second.details["also_in"]) == ("test", (3, 4), "validation")
    assert first.what.startswith("2 of 5 rows of test have a text that is nearly equal to one in train")


def test_what_is_exactly_in_train_is_leakage_not_near_leakage():
    assert not found("near_leakage", split(TEXTS[:2]), split(TEXTS[:2], name="test"))
    assert found("leakage", split(TEXTS[:2]), split(TEXTS[:2], name="test"))[0].rows == (1, 2)


def test_pairs_are_compared_part_by_part():
    premise = "Two dogs run along the beach while a child looks at them."
    train = split([(premise, "They are outdoors."), (premise, "They sleep.")])
    test = split([(premise.lower(), "They are outdoors"), (premise, "A cat swims.")], name="test")
    (finding,) = found("near_leakage", train, test)
    assert finding.rows == (1,)
