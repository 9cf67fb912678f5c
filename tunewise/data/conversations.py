"""Rows of language tasks -> token ids, and which of them are to be learnt."""

from __future__ import annotations

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
