"""Tokens of a row as they are shown."""

from __future__ import annotations

from dataclasses import dataclass
from typing import Literal

LOST_SHOWN = 40
"""Tokens of a cut that are shown; all are counted."""

Part = Literal["special", "text", "learnt", "lost", "more"]


@dataclass(frozen=True)
class Piece:
    """A token, as the tokeniser writes it.

    Attributes:
        part: `special` (put there by the tokeniser), `text`, `learnt` (what a language model learns), `lost` (cut away:
            the model does not see it), or `more`: how many tokens are not listed here, in words.
        of: which text of the row it is of, from 0; None for special tokens.
        tag: of the word that this token stands for, where the model answers for words.
    """

    token: str
    part: Part
    of: int | None = None
    tag: str = ""
