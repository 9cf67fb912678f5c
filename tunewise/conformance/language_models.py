"""Tiny random language models with real tokenisers, and toy data that they can learn: what is asked for is copied."""

from __future__ import annotations

from collections.abc import Callable, Mapping
from pathlib import Path
from typing import TYPE_CHECKING, Any

import numpy as np

from tunewise.conformance.models import (
    BLOCKS,
    HEADS,
    INNER,
    POSITIONS,
    STACKS,
    TEXT,
    VOCABULARY,
    WIDTH,
    make_tokenizer,
    sizes,
)
from tunewise.conformance.toy_data import FILLER, TELLING, with_filler
from tunewise.types import DataBundle, DataStep, Schema, Split

if TYPE_CHECKING:
    from transformers import PretrainedConfig

ENDS = {"bos_token_id": 0, "eos_token_id": 1, "pad_token_id": 2}
"""As the tokeniser of decoders numbers them; its unknown token pads."""


def _gpt2(blocks: int) -> PretrainedConfig:
    return TEXT["gpt2"](blocks)


def _llama(blocks: int) -> PretrainedConfig:
    return TEXT["llama"](blocks)


def _qwen3(blocks: int) -> PretrainedConfig:
    from transformers import Qwen3Config

    return Qwen3Config(**sizes(blocks), num_key_value_heads=2, head_dim=WIDTH // HEADS, **ENDS)


def _gemma(blocks: int) -> PretrainedConfig:
    from transformers import GemmaConfig

    return GemmaConfig(**sizes(blocks), num_key_value_heads=2, head_dim=WIDTH // HEADS, **ENDS)


def _opt(blocks: int) -> PretrainedConfig:
    from transformers import OPTConfig

    return OPTConfig(
        vocab_size=VOCABULARY,
        hidden_size=WIDTH,
        num_hidden_layers=blocks,
        num_attention_heads=HEADS,
        ffn_dim=INNER,
        word_embed_proj_dim=WIDTH,
        max_position_embeddings=POSITIONS,
        init_std=0.2,
        **ENDS,
    )


def _t5(blocks: int) -> PretrainedConfig:
    return TEXT["t5"](blocks)


def _bart(blocks: int) -> PretrainedConfig:
    from transformers import BartConfig

    halves = {f"{half}_{name}": value for half in ("encoder", "decoder") for name, value in _bart_half(blocks).items()}
    return BartConfig(
        vocab_size=VOCABULARY,
        d_model=WIDTH,
        max_position_embeddings=POSITIONS,
        init_std=0.2,
        pad_token_id=1,
        bos_token_id=0,
        eos_token_id=2,
        decoder_start_token_id=2,
        forced_eos_token_id=None,
        **halves,
    )


def _bart_half(blocks: int) -> dict[str, int]:
    return {"layers": blocks, "attention_heads": HEADS, "ffn_dim": INNER}


LANGUAGE: Mapping[str, Callable[[int], PretrainedConfig]] = {
    "gpt2": _gpt2,
    "llama": _llama,
    "qwen3": _qwen3,
    "gemma": _gemma,
    "opt": _opt,
    "t5": _t5,
    "bart": _bart,
}
TOKENIZER_OF = {"t5": "t5", "bart": "bart"}
HALVES = {**STACKS, "bart": 2}


def make_language_folder(family: str, folder: Path, blocks: int = BLOCKS, **changes: Any) -> Path:
    """The folder of a tiny language model of the family, of so many blocks in all, with its tokeniser; always with the
    same weights.

    Args:
        changes: to its configuration.
    """
    import torch
    from transformers import AutoModelForCausalLM, AutoModelForSeq2SeqLM

    config = LANGUAGE[family](blocks // HALVES.get(family, 1))
    for name, value in changes.items():
        setattr(config, name, value)
    with torch.random.fork_rng(devices=[]):
        torch.manual_seed(0)
        kind = AutoModelForSeq2SeqLM if config.is_encoder_decoder else AutoModelForCausalLM
        model = kind.from_config(config)
    model.save_pretrained(folder)
    make_tokenizer(TOKENIZER_OF.get(family, "decoder")).save_pretrained(folder)
    return folder


def toy_answers(train: int, held_out: int) -> DataBundle:
    """Prompts of a few words, and answers that name the group that the telling ones among them are of."""
    generator = np.random.default_rng(7)
    splits = {}
    for name, count in (("train", train), ("validation", held_out), ("test", held_out)):
        rows = tuple(_answered(row % 3, generator) for row in range(count))
        splits[name] = Split(name, rows, np.zeros(count, np.float32), np.arange(1, count + 1), "toy data")
    schema = Schema("generation", ("prompt", "answer"), "", (), "completion")
    total = train + 2 * held_out
    steps = (DataStep("make", total, total, "toy data"),)
    return DataBundle(splits, schema, steps, fingerprint=f"toy-answers-{train}-{held_out}")


def _answered(group: int, generator: np.random.Generator) -> tuple[str, str]:
    words = tuple(TELLING.values())[group]
    prompt = with_filler(generator.choice(words, size=2), generator)
    return prompt, f"{FILLER[group]} {words[0]} {words[1]}"
