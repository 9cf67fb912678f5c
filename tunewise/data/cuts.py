"""Texts that are longer than a model reads: which of their tokens are kept, and what is told of the others."""

from __future__ import annotations

import math
from collections.abc import Iterator, Mapping, Sequence
from contextlib import contextmanager
from dataclasses import dataclass, field
from typing import Any

import numpy as np

from tunewise.config.reading import Chunks, Reading
from tunewise.types import Kept

BEGINNING = 4  # the part of a text that is kept of its beginning, where both ends are: a quarter
_SIDES: Mapping[Kept, str] = {"head": "right", "tail": "left"}
_LOST: Mapping[Kept, str] = {"head": "at their ends", "tail": "at their beginnings", "both": "in their middles"}


@dataclass(frozen=True, eq=False)
class Losses:
    """What was cut: how many texts, the tokens they lost, how many words have no token, and the numbers of the rows
    (from 0, int64) with a text that was cut. What was read in more than one window instead: so many texts (`chunked`),
    in so many windows, and the numbers of their rows."""

    texts: int = 0
    tokens: int = 0
    words: int = 0
    rows: np.ndarray = field(default_factory=lambda: np.zeros(0, np.int64))
    chunked: int = 0
    windows: int = 0
    chunked_rows: np.ndarray = field(default_factory=lambda: np.zeros(0, np.int64))

    def __add__(self, other: Losses) -> Losses:
        """Both together; a row that is in both once."""
        return Losses(
            self.texts + other.texts,
            self.tokens + other.tokens,
            self.words + other.words,
            np.union1d(self.rows, other.rows),
            self.chunked + other.chunked,
            self.windows + other.windows,
            np.union1d(self.chunked_rows, other.chunked_rows),
        )

    @property
    def counts(self) -> Losses:
        """The same without the numbers of the rows."""
        return Losses(self.texts, self.tokens, self.words, chunked=self.chunked, windows=self.windows)

    def __bool__(self) -> bool:
        """Whether there is anything to tell."""
        return bool(self.texts or self.words or self.chunked)

    def told(self, of_what: str, max_length: int, kept: Reading) -> str:
        """The warning that texts were too long, and that words have no token: nothing is cut in silence."""
        if self.chunked:
            read = (
                f"{self.chunked} {of_what} are longer than {max_length} tokens and are read in {self.windows} windows"
            )
            return f"{read}; {self.texts} lost {self.tokens} tokens at their ends" if self.texts else read
        cut = f"{self.texts} {of_what} are longer than {max_length} tokens and were cut"
        without = f"{self.words} words have no token, and are taken for O"
        if self.texts:
            where = _LOST["head" if isinstance(kept, Chunks) else kept]
            longer = f"{cut}; {self.tokens} tokens {where} are lost"
            return f"{longer}; {without}" if self.words else longer
        return f"{without} ({of_what.removeprefix('of ')})"


def call(tokenizer: Any, texts: Sequence[tuple[str, ...]], **options: Any) -> Any:
    """What a tokeniser gives for rows of one text or two."""
    columns = [list(column) for column in zip(*texts, strict=True)]
    return tokenizer(*columns, return_attention_mask=False, verbose=False, **options)


def encode_cut(
    texts: Sequence[tuple[str, ...]], tokenizer: Any, max_length: int, kept: Kept, **options: Any
) -> Mapping[str, list[Any]]:
    """What a tokeniser gives for rows of which `max_length` tokens are kept, special ones included: they stay, whatever
    is kept. Of pairs the longer text is cut first, then both.

    `both` keeps a quarter of a text's tokens (rounded up) from its beginning and the rest from its end, as Sun et al.
    (2019), How to fine-tune BERT for text classification: 128 + 382 of 510.

    Args:
        options: of the tokeniser's call; offsets are right for `head` and `tail`.
    """
    cut = {"truncation": "longest_first", "max_length": max_length, **options}
    if kept != "both":
        with _keeping(tokenizer, _SIDES[kept]):
            return call(tokenizer, texts, **cut)
    with _keeping(tokenizer, "left"):
        tails = call(tokenizer, texts, **cut)
    with _keeping(tokenizer, "right"):  # the last, since a fast tokeniser saves at which side it has cut last
        heads = call(tokenizer, texts, return_special_tokens_mask=True, **cut)
    for row, ids in enumerate(heads["input_ids"]):
        for start, end in spans(heads, row):
            middle = start + math.ceil((end - start) / BEGINNING)
            ids[middle:end] = tails["input_ids"][row][middle:end]
    return heads


def spans(found: Any, row: int) -> Iterator[tuple[int, int]]:
    """Where each text's own tokens lie in a row: the first, and the place behind the last."""
    if found.is_fast:
        owners = found.sequence_ids(row)
    else:  # which knows of special tokens alone: enough for one text
        owners = [None if special else 0 for special in found["special_tokens_mask"][row]]
    for text in (0, 1):
        if text in owners:
            places = [place for place, owner in enumerate(owners) if owner == text]
            yield places[0], places[-1] + 1


@contextmanager
def _keeping(tokenizer: Any, side: str) -> Iterator[None]:
    """The tokeniser cuts texts at this side; afterwards at its own again."""
    before = tokenizer.truncation_side
    tokenizer.truncation_side = side
    try:
        yield
    finally:
        tokenizer.truncation_side = before
