"""Texts that were decoded in the wrong encoding or are still escaped for HTML: set right by ftfy."""

from __future__ import annotations

from functools import cache
from typing import Any


def fix_encoding(text: str) -> str:
    """The text without mojibake, by the heuristics of ftfy (Speer 2019): UTF-8 read as Latin-1, Windows-1252 and their
    like, also twice over. A text of ASCII alone is never changed."""
    if text.isascii():
        return text
    import ftfy

    return ftfy.fix_text(text, _settings())


def decode_entities(text: str) -> str:
    """The text with HTML entities that end in a semicolon decoded, until none is left."""
    if "&" not in text:
        return text
    from ftfy.fixes import unescape_html

    while (decoded := unescape_html(text)) != text:
        text = decoded
    return text


@cache
def _settings() -> Any:
    """What concerns the encoding, and nothing of what merely tidies up."""
    import ftfy

    return ftfy.TextFixerConfig(
        unescape_html=False,
        remove_terminal_escapes=False,
        fix_latin_ligatures=False,
        fix_character_width=False,
        uncurl_quotes=False,
        fix_line_breaks=False,
        remove_control_chars=False,
        normalization=None,
        explain=False,
    )
