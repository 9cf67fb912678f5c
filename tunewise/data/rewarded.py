"""What a reward model reads: a prompt with its answer, as one text of a decoder, or as two of an encoder."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import replace
from typing import TYPE_CHECKING, Any

import numpy as np

from tunewise.data.conversations import encode_answers
from tunewise.data.labelled import LabelledTokens
from tunewise.data.ragged import Ragged
from tunewise.data.tokenise import Tokens, tokenise
from tunewise.errors import DataError
from tunewise.types import Split

if TYPE_CHECKING:
    from tunewise.types import Schema


def encode_rewarded(
    rows: Sequence[tuple[str, str]], schema: Schema, tokenizer: Any, max_length: int
) -> LabelledTokens | Tokens:
    """The tokens of prompts with their answers, in the form of the schema.

    A tokeniser that opens texts with a token for the whole ([CLS]) gets both as a pair of texts. Others get what a
    language model would be trained on. Its classifier reads the last token that is not padding: where the tokeniser
    pads with the end of text, that end is left out, so that the last token of the answer is read in any batch.
    """
    if tokenizer.cls_token_id is not None and schema.form != "chat":
        return tokenise(rows, tokenizer, max_length)
    split = Split("rewarded", tuple(rows), np.zeros(len(rows), np.float32), np.arange(1, len(rows) + 1), "")
    tokens = encode_answers(split, schema, tokenizer, max_length, False)
    return without_end(tokens) if tokenizer.eos_token_id == tokenizer.pad_token_id else tokens


def without_end(tokens: LabelledTokens) -> LabelledTokens:
    """The same rows without a last token that is the one that pads; a row of one token stays."""
    ids = tokens.ids
    last_N = ids.offsets[1:] - 1
    ends_N = (ids.flat[last_N] == tokens.pad) & (ids.lengths > 1)
    kept_S = np.ones(len(ids.flat), bool)
    kept_S[last_N[ends_N]] = False
    offsets = ids.offsets - np.concatenate([[0], np.cumsum(ends_N)])
    return replace(tokens, ids=Ragged(ids.flat[kept_S], offsets), learnt=Ragged(tokens.learnt.flat[kept_S], offsets))


def margins_of(split: Split) -> np.ndarray | None:
    """By how much the chosen answer is to be better, float32 (n,), from the column `margin`; None without one.

    Raises:
        DataError: a margin is not a number.
    """
    if "margin" not in split.columns:
        return None
    margins = np.array([_number(text) for text in split.columns["margin"]], np.float32)
    if (bad := np.flatnonzero(~np.isfinite(margins))).size:
        text = split.columns["margin"][bad[0]]
        raise DataError(
            f"the margin of {bad.size} of {len(split)} rows is not a number, the first '{text}'",
            where=f"{split.source}, row {split.rows[bad[0]]}",
            fix="give a number in each row, or drop the column margin",
        )
    return margins


def _number(text: str) -> float:
    try:
        return float(text)
    except ValueError:
        return float("nan")
