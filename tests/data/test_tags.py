"""Tags, against seqeval."""

from __future__ import annotations

import pytest
from hypothesis import given
from hypothesis import strategies as st
from seqeval.metrics.sequence_labeling import get_entities
from seqeval.scheme import BILOU, IOB1, IOB2, IOBES, Entities

from tunewise.data.tags import (
    Tags,
    as_iob2,
    entities_of,
    entity_types,
    has_ends,
    is_plain,
    needless_beginnings,
    tag_names,
    with_beginnings,
    without_ends,
)

BIO = st.lists(st.sampled_from(["O", "B-a", "I-a", "B-b", "I-b"]), max_size=8)


def by_seqeval(tags, scheme=IOB2):
    return [(each.tag, each.start, each.end) for each in Entities([list(tags)], scheme).entities[0]]


@given(BIO)
def test_entities_are_those_of_seqeval(tags):
    assert entities_of(tags, plain=False) == by_seqeval(tags)


@given(BIO)
def test_entities_that_begin_with_i_are_begun_with_b(tags):
    """As the evaluation of the shared task reads them, which seqeval follows where it is not strict."""
    fixed, changed = with_beginnings(Tags(tags))
    assert entities_of(fixed, plain=False) == [(kind, start, end + 1) for kind, start, end in get_entities(tags)]
    assert changed == sum(before != after for before, after in zip(tags, fixed, strict=True))
    assert with_beginnings(fixed) == (fixed, 0)


@pytest.mark.parametrize(
    ("tags", "scheme"),
    [
        ("I-a I-a B-a I-b O I-a", IOB1),
        ("I-a B-a B-a O", IOB1),
    ],
)
def test_iob1(tags, scheme):
    tags = Tags(tags.split())
    assert needless_beginnings(tags) == 0
    assert by_seqeval(with_beginnings(tags)[0]) == by_seqeval(tags, scheme)


def test_iob2_has_beginnings_that_iob1_would_not_write():
    assert needless_beginnings(Tags(["B-a", "I-a", "B-a", "O", "B-b"])) == 2


@pytest.mark.parametrize(
    ("tags", "scheme"), [("B-a I-a E-a S-b O S-b B-b E-b", IOBES), ("B-a I-a L-a U-b O U-b B-b L-b", BILOU)]
)
def test_ends_are_left_out(tags, scheme):
    tags = Tags(tags.split())
    assert has_ends(tags) and not is_plain(tags)
    assert entities_of(without_ends(tags), plain=False) == by_seqeval(tags, scheme)


def test_plain_tags_in_a_row_are_one_entity():
    tags = ["a", "a", "O", "b", "a", "O", "O"]
    assert is_plain(tags) and not has_ends(tags)
    assert as_iob2(tags, plain=True) == ["B-a", "I-a", "O", "B-b", "B-a", "O", "O"]
    assert entities_of(tags, plain=True) == [("a", 0, 2), ("b", 3, 4), ("a", 4, 5)]


def test_names_of_tags():
    assert tag_names({"I-b", "O", "B-a", "B-b"}) == ("O", "B-a", "I-a", "B-b", "I-b")
    assert tag_names({"B-a"}) == ("O", "B-a", "I-a")
    assert tag_names({"VERB", "NOUN"}) == ("NOUN", "VERB")
    assert tag_names({"loc", "O"}) == ("O", "loc")
    assert entity_types(("O", "B-creative-work", "I-creative-work", "B-x", "I-x")) == ("creative-work", "x")
    assert entity_types(("O", "loc", "per")) == ("loc", "per")
