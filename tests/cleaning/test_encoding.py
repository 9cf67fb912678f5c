"""Mojibake and HTML entities: what is set right, and what must stay as it is."""

from __future__ import annotations

import html

import pytest
from hypothesis import given
from hypothesis import strategies as st

from tunewise.cleaning.encoding import decode_entities, fix_encoding

SENTENCES = [
    "Das Café im Süden hat über Ostern geschlossen.",
    "Où est mon colis ? Ça fait déjà deux semaines…",
    "El niño pidió señales: ¿dónde está el paquete?",
    "“It’s broken” – that’s what she said.",
    "Zażółć gęślą jaźń",
    "Где мой заказ?",
    "Thanks 😀👍 for the quick reply",
]


@pytest.mark.parametrize("text", SENTENCES)
@pytest.mark.parametrize("times", [1, 2])
def test_utf_8_read_as_windows_1252_is_read_again(text: str, times: int) -> None:
    """As browsers read Windows-1252: the five bytes that it does not have are controls."""
    spoilt = text
    for _ in range(times):
        spoilt = "".join(_read(byte) for byte in spoilt.encode("utf-8"))
    assert spoilt != text and fix_encoding(spoilt) == text


def _read(byte: int) -> str:
    try:
        return bytes([byte]).decode("cp1252")
    except UnicodeDecodeError:
        return chr(byte)


@pytest.mark.parametrize("text", SENTENCES[:3])
def test_utf_8_read_as_latin_1_is_read_again(text: str) -> None:
    spoilt = text.replace("…", "").encode("utf-8").decode("latin-1")
    assert fix_encoding(spoilt) == text.replace("…", "")


@pytest.mark.parametrize(
    "text",
    [
        *SENTENCES,
        "curly ‘quotes’ and “quotes”, ﬁ ligatures, ｗｉｄｅ letters",
        "line\r\nends\rof\u2028all kinds",
        "\x1b[31mred\x1b[0m and a bell\x07",
        "e\u0301 is not composed here",
        "&eacute; is no matter of encoding",
        "lost for good: caf\ufffd",
        "",
    ],
)
def test_what_is_sound_or_beyond_repair_stays(text: str) -> None:
    assert fix_encoding(text) == text


@given(st.text(alphabet=st.characters(max_codepoint=127)))
def test_ascii_stays(text: str) -> None:
    assert fix_encoding(text) == text


@given(st.text(alphabet=st.one_of(st.characters(exclude_categories=["Cs"]), st.sampled_from("Ã©â€™œ\x9d\x93&;#amp"))))
def test_both_change_nothing_of_what_they_gave(text: str) -> None:
    fixed, decoded = fix_encoding(text), decode_entities(text)
    assert fix_encoding(fixed) == fixed and decode_entities(decoded) == decoded


@given(st.text(alphabet=st.characters(exclude_categories=["Cs"], exclude_characters="&\x00")))
def test_what_was_escaped_comes_back(text: str) -> None:
    """Against the standard library's `html.escape`, once and twice over."""
    assert decode_entities(html.escape(text)) == text
    assert decode_entities(html.escape(html.escape(text))) == text


@pytest.mark.parametrize(
    ("text", "decoded"),
    [
        ("P&eacute;rez &#8364;5 &#x20AC;5 P&EACUTE;REZ", "Pérez €5 €5 PÉREZ"),
        ("&amp;amp;lt;b&gt;", "<b>"),
        ("AT&T, this&not that, R&D; 5&lt", "AT&T, this&not that, R&D; 5&lt"),
    ],
)
def test_entities_that_end_in_a_semicolon_are_decoded_and_no_others(text: str, decoded: str) -> None:
    assert decode_entities(text) == decoded
