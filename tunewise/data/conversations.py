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


def encode_pairs(split: Any, schema: Any, tokenizer: Any, max_length: int, encoder_decoder: bool) -> Any:
    from dataclasses import replace as _r

    return tuple(
        encode_answers(
            _r(split, texts=tuple((r[0], r[k]) for r in split.texts)), schema, tokenizer, max_length, encoder_decoder
        )
        for k in (1, 2)
    )


def encode_answers(split: Any, schema: Any, tokenizer: Any, max_length: int, encoder_decoder: bool) -> Any:
    ids, learnt, sources = [], [], []
    bos = [] if tokenizer.bos_token_id is None or encoder_decoder else [tokenizer.bos_token_id]
    for prompt, answer in split.texts:
        p = bos + tokenizer(prompt, add_special_tokens=False)["input_ids"]
        a = [*tokenizer(answer, add_special_tokens=False)["input_ids"], tokenizer.eos_token_id]
        if encoder_decoder:
            sources.append(p)
            ids.append(a)
            learnt.append(np.ones(len(a), np.int8))
        else:
            ids.append(p + a)
            learnt.append(np.array([0] * len(p) + [1] * len(a), np.int8))
    return LabelledTokens(
        Ragged.of(ids, np.int32),
        Ragged.of(learnt, np.int8),
        tokenizer.pad_token_id,
        sources=Ragged.of(sources, np.int32) if encoder_decoder else None,
    )
