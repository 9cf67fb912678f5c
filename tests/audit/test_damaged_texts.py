"""Wrongly decoded texts and needless spaces: each kind by itself, and nothing in sound texts of many scripts."""

from __future__ import annotations

import ftfy
import pytest
from checked_data import found, split
from hypothesis import given
from hypothesis import strategies as st

from tunewise.audit.encoding import damage
from tunewise.audit.whitespace import needless

SOUND = [
    "Plain text, with tabs\tand\nline breaks",
    "Ünïcödé is fine: naïve café, 5 €, “quoted” – dash…",
    "日本語のテキスト",
    "Привет, как дела?",
    "👍🏽 👨‍👩‍👧 emoji with joiners",
    "AT&T and R&D; Q&A",
    "fish & chips; &nothing; a&b",
]


@pytest.mark.parametrize("text", SOUND)
def test_sound_texts_are_left_alone(text):
    assert not list(damage(text))
    assert not list(needless(text))


@pytest.mark.parametrize("encoding", ["latin-1", "cp1252"])
@pytest.mark.parametrize("text", ["The café is “closed”", "L’été à Genève", "Grüße aus Köln – schön", "5 € für Öl"])
def test_utf8_read_as_another_encoding_is_mojibake(text, encoding):
    wrong = text.encode().decode(encoding, errors="replace" if encoding == "cp1252" else "strict")
    assert "mojibake" in list(damage(wrong))


@pytest.mark.parametrize(
    ("text", "kind"),
    [
        ("fish &amp; chips", "HTML entities"),
        ("I &#9829; you", "HTML entities"),
        ("&lt;b&gt;bold", "HTML entities"),
        ("caf\ufffd", "replacement characters"),
        ("a\x00b", "control characters"),
        ("bell\x07", "control characters"),
        ("that\x92s windows-1252", "mojibake"),
    ],
)
def test_each_kind_of_damage(text, kind):
    assert list(damage(text)) == [kind]


@given(st.text())
def test_ascii_without_control_characters_and_ampersands_is_never_damaged(text):
    plain = "".join(letter for letter in text if " " <= letter <= "~" and letter != "&")
    assert not list(damage(plain))


@given(st.text(alphabet="Ã©â€™aÂ \x92üß“日", min_size=1))
def test_mojibake_is_what_ftfy_decodes_anew(text):
    assert ("mojibake" in damage(text)) == (ftfy.fix_encoding(text) != text)


def test_encoding_counts_rows_and_kinds():
    rows = ["fine", "cafÃ© &amp; bar", "cafÃ©", "a\x00b", *SOUND]
    (finding,) = found("encoding", split(rows))
    assert finding.rows == (2, 3, 4)
    assert finding.details == {"mojibake": 2, "HTML entities": 1, "control characters": 1}
    assert finding.what == (
        "3 of 11 rows were decoded wrongly on their way: mojibake in 2, HTML entities in 1, control characters in 1"
    )
    assert finding.examples[0].note == "mojibake, HTML entities"


def test_both_parts_of_a_pair_are_looked_at():
    (finding,) = found("encoding", split([("fine", "cafÃ©"), ("fine", "fine")]))
    assert finding.rows == (1,)


@pytest.mark.parametrize(
    ("text", "kinds"),
    [
        (" before", ["spaces at an end"]),
        ("after\n", ["spaces at an end"]),
        ("two  spaces", ["several spaces in a row"]),
        ("no-break\u00a0 space", ["several spaces in a row"]),
        ("zero\u200bwidth", ["characters without width"]),
        ("\ufeff mark", ["characters without width"]),
        (" all  of\u2060it", ["spaces at an end", "several spaces in a row", "characters without width"]),
        ("a line\n\nbetween", []),
    ],
)
def test_each_kind_of_needless_space(text, kinds):
    assert list(needless(text)) == kinds


def test_whitespace_counts_rows_and_kinds():
    (finding,) = found("whitespace", split(["fine", " both  kinds", "fine too", "end "]))
    assert finding.rows == (2, 4)
    assert finding.details == {"spaces at an end": 2, "several spaces in a row": 1}
    assert not found("whitespace", split(SOUND))
