"""What a reward model reads: a prompt with its answer, as one text of a decoder, or as two of an encoder."""

from __future__ import annotations

import json
from collections.abc import Sequence
from dataclasses import replace
from typing import TYPE_CHECKING, Any

import numpy as np

from tunewise.chat.messages import ASSISTANT, USER
from tunewise.data.conversations import encode_answers
from tunewise.data.ragged import Ragged
from tunewise.data.tokenise import Tokens, tokenise
from tunewise.errors import DataError
from tunewise.types import Split

if TYPE_CHECKING:
    from tunewise.types import Schema


def encode_rewarded(rows: Sequence[tuple[str, str]], schema: Schema, tokenizer: Any, max_length: int) -> Tokens:
    """The tokens of prompts with their answers, in the form of the schema.

    A tokeniser that opens texts with a token for the whole ([CLS]) gets both as a pair of texts. Others get what a
    language model would be trained on. Its classifier reads the last token that is not padding: where the tokeniser
    pads with the end of text, that end is left out, so that the last token of the answer is read in any batch.

    Raises:
        DataError: a conversation cannot be written by the chat template.
    """
    if tokenizer.cls_token_id is not None and schema.form != "chat":
        return tokenise(rows, tokenizer, max_length)
    split = Split("rewarded", tuple(rows), np.zeros(len(rows), np.float32), np.arange(1, len(rows) + 1), "texts")
    found = encode_answers(split, schema, tokenizer, max_length, False)
    start = tokenizer.bos_token_id
    opens = int(start is not None and all(len(row) and row[0] == start for row in found.ids))
    cut = found.cut_rows
    tokens = Tokens(found.ids, None, found.pad, len(cut), found.lost, opens=opens, cut_rows=cut)
    return without_end(tokens) if tokenizer.eos_token_id == tokenizer.pad_token_id else tokens


def without_end(tokens: Tokens) -> Tokens:
    """The same rows without a last token that is the one that pads; a row of one token stays."""
    ids = tokens.ids
    last_N = ids.offsets[1:] - 1
    ends_N = (ids.flat[last_N] == tokens.pad) & (ids.lengths > 1)
    kept_S = np.ones(len(ids.flat), bool)
    kept_S[last_N[ends_N]] = False
    offsets = ids.offsets - np.concatenate([[0], np.cumsum(ends_N)])
    return replace(tokens, ids=Ragged(ids.flat[kept_S], offsets))


def rewarded_row(given: Any, schema: Schema) -> tuple[str, str] | None:
    """Prompt and answer as a row of the schema has them, from two strings; in the form `chat`, from a list of messages
    too, or from lists for both. None where they are something else."""
    if schema.form != "chat":
        two = isinstance(given, (tuple, list)) and len(given) == 2 and all(isinstance(part, str) for part in given)
        return (given[0], given[1]) if two else None
    if isinstance(given, (tuple, list)) and len(given) > 1 and all(isinstance(part, dict) for part in given):
        given = list(given[:-1]), list(given[-1:])
    if not isinstance(given, (tuple, list)) or len(given) != 2:
        return None
    found = [_messages(part, role) for part, role in zip(given, (USER, ASSISTANT), strict=True)]
    return None if None in found else (found[0], found[1])


def _messages(given: Any, role: str) -> str | None:
    """Messages as JSON: those that are given, as a list or as JSON, or one of this role."""
    if isinstance(given, str):
        return given if _is_conversation(given) else json.dumps([{"role": role, "content": given}], ensure_ascii=False)
    listed = isinstance(given, (tuple, list)) and given and all(isinstance(part, dict) for part in given)
    return json.dumps(list(given), ensure_ascii=False) if listed else None


def _is_conversation(text: str) -> bool:
    try:
        held = json.loads(text)
    except ValueError:
        return False
    held = held.get("messages") if isinstance(held, dict) else held
    return isinstance(held, list) and bool(held) and all(isinstance(part, dict) and "role" in part for part in held)


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
