"""Texts as a net reads them: by rows, or word by word."""

from __future__ import annotations

from collections.abc import Sequence

from tunewise.data.tokenise import Tokens, tokenise, tokenise_words
from tunewise.models.load import Net


def encode(texts: Sequence[tuple[str, ...]], net: Net) -> Tokens:
    """The tokens of texts, at most `net.max_length` each; with the places of words where the net answers for words."""
    return (tokenise_words if net.by_word else tokenise)(texts, net.tokenizer, net.max_length)
