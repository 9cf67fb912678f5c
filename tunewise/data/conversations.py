"""Rows of language tasks -> token ids, and which of them are to be learnt."""

from __future__ import annotations

from dataclasses import dataclass, field
from typing import TYPE_CHECKING, Any

import numpy as np

from tunewise.data.labelled import LabelledTokens
from tunewise.data.ragged import Ragged

if TYPE_CHECKING:
    from tunewise.types import Schema, Split


def encode_split(
    split: Split, schema: Schema, tokenizer: Any, max_length: int, everything: bool, encoder_decoder: bool
) -> LabelledTokens:
    """The tokens of a split of the task `generation`.

    Args:
        everything: prompts are to be learnt too.
        encoder_decoder: prompts go to the encoder.
    """
    ids, learnt = [], []
    for row in split.texts:
        (text,) = row
        found = [*tokenizer(text, add_special_tokens=True)["input_ids"], tokenizer.eos_token_id][:max_length]
        ids.append(found)
        learnt.append(np.ones(len(found), np.int8))
    return LabelledTokens(Ragged.of(ids, np.int32), Ragged.of(learnt, np.int8), tokenizer.pad_token_id)


@dataclass(frozen=True, eq=False)
class Prompts:
    """Provisional."""

    ids: Ragged
    texts: tuple[str, ...]
    references: tuple[str, ...]
    lost: int = 0
    cut_rows: np.ndarray = field(default_factory=lambda: np.zeros(0, np.int64))


def encode_prompts(split: Split, schema: Schema, tokenizer: Any, max_length: int, encoder_decoder: bool) -> Prompts:
    """Provisional."""
    ids, texts, references = [], [], []
    for row in split.texts:
        all_of = tokenizer(row[0], add_special_tokens=False)["input_ids"]
        many = len(all_of) if len(row) > 1 else min(32, len(all_of) // 2)
        opening = [] if tokenizer.bos_token_id is None else [tokenizer.bos_token_id]
        ids.append([*opening, *all_of[:many]])
        texts.append(tokenizer.decode(all_of[:many]))
        references.append(row[1] if len(row) > 1 else tokenizer.decode(all_of)[len(texts[-1]) :])
    return Prompts(Ragged.of(ids, np.int32), tuple(texts), tuple(references))
