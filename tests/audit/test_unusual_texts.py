"""Outliers: far lengths by the published score, texts without letters, one word again and again."""

from __future__ import annotations

import csv
from importlib.resources import files

import numpy as np
import pytest
from checked_data import found, split

from tunewise.audit.outliers import far_lengths, strange

USUAL = [f"The parcel with number {number} has not arrived at our house yet" for number in range(40)]


def test_the_score_is_the_published_one():
    # Logarithms 1 to 20 and one of 40: the median is 11, that of the distances 5.
    lengths = np.exp(np.array([*range(1, 21), 40], dtype=float))
    scores = far_lengths(lengths)
    assert scores[-1] == pytest.approx(0.6745 * 29 / 5)
    assert scores[0] == pytest.approx(-0.6745 * 10 / 5)


def test_lengths_that_hardly_differ_are_never_far():
    assert not found("outliers", split([*USUAL, USUAL[0] + " and more"]))


def test_far_lengths_are_found_in_both_directions():
    (finding,) = found("outliers", split([*USUAL, "Hi", " ".join(USUAL[:20])]))
    assert finding.rows == (41, 42)
    assert finding.details == {"far shorter": 1, "far longer": 1, "median_characters": 58}
    assert finding.examples[0].note == "far shorter; 2 characters"


def test_few_rows_have_no_usual_length():
    assert not found("outliers", split([*USUAL[:10], " ".join(USUAL)]))


@pytest.mark.parametrize(
    ("text", "kind"),
    [
        ("aaaaaaaa", "one character again and again"),
        ("!!! !!! !!!", "one character again and again"),
        ("spam spam Spam spam spam", "one word again and again"),
        ("no no no no no yes", "one word again and again"),
        ("+44 7700 900123", "hardly any letters"),
        (":-) :-( ;-)", "hardly any letters"),
        ("room 101", None),
        ("no no yes yes no", None),
        ("日本語のテキスト", None),
        ("ok", None),
        ("", None),
    ],
)
def test_strange_texts(text, kind):
    assert strange(text) == kind


def test_hardly_anything_in_the_example_messages():
    with (files("tunewise.data") / "examples/customer_messages.csv").open(encoding="utf-8", newline="") as file:
        texts = [row["text"] for row in csv.DictReader(file)]
    findings = found("outliers", split(texts))
    assert sum(finding.count for finding in findings) <= 5
