"""CoNLL files: sentences as rows, and errors that name the line."""

from __future__ import annotations

import pytest
from hypothesis import given
from hypothesis import strategies as st

from tunewise.data.conll import looks_like_conll, read_conll
from tunewise.errors import DataError

TWO = "EU\tB-ORG\nrejects\tO\n\nPeter\tB-PER\nBlackburn\tI-PER\n"
# The layout of the shared task of 2003: word, part of speech, chunk, tag.
FOUR = "-DOCSTART- -X- -X- O\n\nEU NNP B-NP B-ORG\nrejects VBZ B-VP O\n\n-DOCSTART- -X- -X- O\n\nPeter NNP B-NP B-PER\n"


def test_a_sentence_is_a_row():
    table = read_conll(TWO.encode(), "f.conll")
    assert table.columns == {
        "tokens": [["EU", "rejects"], ["Peter", "Blackburn"]],
        "tags": [["B-ORG", "O"], ["B-PER", "I-PER"]],
    }
    assert table.note == ""


def test_more_columns_and_document_lines():
    table = read_conll(FOUR.encode(), "f.conll")
    assert list(table.columns) == ["tokens", "1", "2", "tags"]
    assert table.columns["tokens"] == [["EU", "rejects"], ["Peter"]]
    assert table.columns["1"] == [["NNP", "VBZ"], ["NNP"]]
    assert table.columns["tags"] == [["B-ORG", "O"], ["B-PER"]]
    assert table.note == "2 -DOCSTART- lines passed over"
    assert [table.find(column) for column in (0, 1, 2, 3)] == ["tokens", "1", "2", "tags"]


@pytest.mark.parametrize(
    "text",
    [
        TWO.replace("\n", "\r\n"),
        "\ufeff" + TWO,
        TWO.replace("\t", " "),
        TWO.replace("\n\n", "\n\t\n \n\n"),
        "\n\n" + TWO.rstrip("\n"),
        TWO.replace("\n", " \n"),
    ],
)
def test_line_ends_spaces_and_several_blank_lines(text):
    assert read_conll(text.encode(), "f").columns == read_conll(TWO.encode(), "f").columns


def test_a_hash_is_a_comment_only_where_no_tab_follows():
    table = read_conll(b"# id = 1\n#\tO\n# yes\nEU\tB-ORG\n", "f")
    assert table.columns["tokens"] == [["#", "EU"]] and table.note == "2 comments passed over"
    assert read_conll(b"# O\nEU B-ORG\n", "f").columns["tokens"] == [["#", "EU"]]


def test_words_with_spaces_between_tabs():
    assert read_conll(b"New York\tB-LOC\nis\tO\n", "f").columns["tokens"] == [["New York", "is"]]
    assert read_conll(b"New;B-LOC\n", "f", delimiter=";").columns["tags"] == [["B-LOC"]]


def test_without_tags():
    assert read_conll("EU\nrejects\n\nPeter\n".encode("utf-16"), "f", encoding="utf-16").columns == {
        "tokens": [["EU", "rejects"], ["Peter"]]
    }


@pytest.mark.parametrize(
    ("text", "words", "line"),
    [
        ("EU\tB-ORG\nrejects\n", "expected 2 columns, as in line 1, got 1", 2),
        ("\nEU O\nPeter B PER\n", "expected 2 columns, as in line 2, got 3", 3),
        (FOUR.replace("VBZ ", ""), "expected 4 columns, as in line 3, got 3", 4),
        ("EU\tx\tO\nPeter\t\tO\n", "a cell is empty", 2),
    ],
)
def test_a_wrong_line_is_named(text, words, line):
    with pytest.raises(DataError, match=words) as caught:
        read_conll(text.encode(), "f.conll")
    assert caught.value.where == f"f.conll, line {line}" and caught.value.fix


@pytest.mark.parametrize("text", ["", " \n\n", "-DOCSTART- -X- O O\n\n", "\x00"])
def test_nothing_to_read(text):
    with pytest.raises(DataError):
        read_conll(text.encode(), "f.conll")


WORDS = st.text(st.characters(codec="utf-8", categories=["L", "N", "P", "S"]), min_size=1, max_size=6)


@given(st.lists(st.lists(st.tuples(WORDS, WORDS), min_size=1, max_size=4), min_size=1, max_size=4))
def test_what_is_written_comes_back(sentences):
    text = "\n\n".join("\n".join(f"{word}\t{tag}" for word, tag in sentence) for sentence in sentences)
    if any(word == "-DOCSTART-" for sentence in sentences for word, _ in sentence):
        return
    table = read_conll(text.encode(), "f")
    assert table.columns["tokens"] == [[word for word, _ in sentence] for sentence in sentences]
    assert table.columns["tags"] == [[tag for _, tag in sentence] for sentence in sentences]


def test_a_conll_file_is_known_by_its_look():
    assert looks_like_conll(TWO) and looks_like_conll(FOUR)
    assert not looks_like_conll("text,label\nthanks,praise\n")
    assert not looks_like_conll("O\nO\nO\n") and not looks_like_conll("")
