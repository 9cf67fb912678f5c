"""One way to write the same text."""

from __future__ import annotations

import unicodedata

import pytest
from hypothesis import given
from hypothesis import strategies as st

from tunewise.cleaning.normalise import normalise

AWKWARD = st.sampled_from(
    "\t\r\n\v\f\x85\u2028\u2029 \u00a0\u3000\u2003\u200b\u200c\u200d\ufeff\u00ad\x00\x1be\u0301K\u212a"
)
TEXTS = st.text(alphabet=st.one_of(st.characters(exclude_categories=["Cs"]), AWKWARD))


@pytest.mark.parametrize(
    ("text", "written"),
    [
        ("  a \t\u00a0\u3000 b  ", "a b"),
        ("a\r\nb\rc\u2028d\x85e \n  f\n\ng\n", "a\nb\nc\nd\ne\nf\n\ng"),
        ("e\u0301 \u212b", "\u00e9 \u00c5"),
        ("so\u00adft ze\u200bro \ufeffmark \u202eback", "soft zero mark back"),
        ("bell\x07 nul\x00 esc\x1b c1\x9f", "bell nul esc c1"),
        ("a\u200db x\u200c", "ab x"),
        ("\U0001f468\u200d\U0001f469\u200d\U0001f467 \u0645\u06cc\u200c\u062e\u0648\u0627\u0647\u0645",) * 2,
        ("Case, “quotes” … ½ ﬁ １ and 10³ stay.",) * 2,
        (" \t\u200b\n ", ""),
    ],
)
def test_by_example(text: str, written: str) -> None:
    assert normalise(text) == written


@given(TEXTS)
def test_what_is_normal_stays_and_holds_nothing_that_was_to_go(text: str) -> None:
    written = normalise(text)
    assert normalise(written) == written
    assert unicodedata.is_normalized("NFC", written)
    assert written == written.strip(" \n\t\r\v\f\u00a0\u2003\u2028\u3000")
    assert not any(unicodedata.category(letter) == "Cc" for letter in written if letter != "\n")
    assert not set(written) & set("\u00a0\u3000\u200b\ufeff\u00ad") and "  " not in written


@given(TEXTS)
def test_letters_and_their_order_stay(text: str) -> None:
    assert letters(normalise(text)) == letters(text)


def letters(text: str) -> list[str]:
    """Letters and digits, without what is written above or below them."""
    return [letter for letter in unicodedata.normalize("NFD", text) if letter.isalnum()]
