"""One way to write the same text: Unicode form, line ends, spaces, and characters that nobody sees."""

from __future__ import annotations

import re
import unicodedata

_LINE_END = re.compile("\r\n?|[\v\f\x85\u2028\u2029]")
_UNSEEN = re.compile(
    "[\x00-\x08\x0e-\x1f\x7f-\x84\x86-\x9f"  # controls but for tab and line ends
    "\u00ad\u200b\u200e\u200f\u202a-\u202e\u2060-\u2064\u2066-\u2069\ufeff]"  # no width: soft hyphen, directions
)
_JOINER = re.compile("(?<![^\x00-\x7f])[\u200c\u200d]|[\u200c\u200d](?![^\x00-\x7f])")
_SPACES = re.compile("[ \t\u00a0\u1680\u2000-\u200a\u202f\u205f\u3000]+")
_BESIDE_LINE_END = re.compile(" ?\n ?")


def normalise(text: str) -> str:
    """The text in Unicode NFC, with `\\n` for every line end, without controls and characters of no width, with one
    space for each run of spaces, none beside a line end, and nothing blank at its ends.

    Joiners (U+200C, U+200D) stay where both neighbours are not ASCII: they make emoji, and letters of some scripts.
    """
    while (written := _once(text)) != text:
        text = written
    return text


def _once(text: str) -> str:
    text = _JOINER.sub("", _UNSEEN.sub("", _LINE_END.sub("\n", unicodedata.normalize("NFC", text))))
    return _BESIDE_LINE_END.sub("\n", _SPACES.sub(" ", text)).strip(" \n")
