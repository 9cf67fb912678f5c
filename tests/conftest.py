"""Fixtures for every room: tiny random models with real tokenisers, and toy data that can be learned."""

from __future__ import annotations

import os

# Set before torch is imported anywhere: one thread (the tests run on few cores), no network.
os.environ.setdefault("OMP_NUM_THREADS", "1")
os.environ.setdefault("TOKENIZERS_PARALLELISM", "false")
os.environ["HF_HUB_OFFLINE"] = "1"

from collections.abc import Callable
from pathlib import Path
from typing import Any

import numpy as np
import pytest

from tunewise.types import DataBundle, DataStep, Schema, Split, Task

BLOCKS, WIDTH, HEADS, INNER, VOCABULARY, POSITIONS = 4, 32, 4, 64, 200, 64

# Words that decide the label of a toy row, and words that say nothing.
TELLING = {
    "refund": ("money", "refund", "charged", "pay"),
    "delivery": ("parcel", "late", "courier", "box"),
    "praise": ("thanks", "great", "love", "happy"),
}
FILLER = ("the", "a", "my", "is", "was", "it", "and", "please", "today", "order", "with", "very", "one", "to", "for")

# Special tokens in the order of their ids: BERT's, RoBERTa's, and a decoder's, which pads with none of them.
SPECIAL = {
    "bert": {
        "pad_token": "[PAD]",
        "unk_token": "[UNK]",
        "cls_token": "[CLS]",
        "sep_token": "[SEP]",
        "mask_token": "[MASK]",
    },
    "roberta": {
        "cls_token": "<s>",
        "pad_token": "<pad>",
        "sep_token": "</s>",
        "unk_token": "<unk>",
        "mask_token": "<mask>",
    },
    "decoder": {"bos_token": "<s>", "eos_token": "</s>", "unk_token": "<unk>"},
    "t5": {"pad_token": "<pad>", "eos_token": "</s>", "unk_token": "<unk>"},
}
SPECIAL_OF = {"roberta": "roberta", "mpnet": "roberta", "gpt2": "decoder", "llama": "decoder", "t5": "t5"}


def _config(family: str, blocks: int) -> Any:
    import transformers

    # Weights ten times the usual size: with 0.02 the words of a text hardly reach the output of so narrow a model.
    wide = {"initializer_range": 0.2}
    common = {
        **wide,
        "vocab_size": VOCABULARY,
        "hidden_size": WIDTH,
        "num_hidden_layers": blocks,
        "num_attention_heads": HEADS,
        "intermediate_size": INNER,
        "max_position_embeddings": POSITIONS,
    }
    numbered = {**common, "max_position_embeddings": POSITIONS + 2, "pad_token_id": 1}
    make: dict[str, Callable[[], Any]] = {
        "bert": lambda: transformers.BertConfig(**common),
        "roberta": lambda: transformers.RobertaConfig(**numbered, bos_token_id=0, eos_token_id=2, type_vocab_size=1),
        "mpnet": lambda: transformers.MPNetConfig(**numbered, bos_token_id=0, eos_token_id=2),
        "distilbert": lambda: transformers.DistilBertConfig(
            vocab_size=VOCABULARY,
            dim=WIDTH,
            n_layers=blocks,
            n_heads=HEADS,
            hidden_dim=INNER,
            max_position_embeddings=POSITIONS,
            **wide,
        ),
        "gpt2": lambda: transformers.GPT2Config(
            vocab_size=VOCABULARY,
            n_embd=WIDTH,
            n_layer=blocks,
            n_head=HEADS,
            n_positions=POSITIONS,
            bos_token_id=0,
            eos_token_id=1,
            **wide,
        ),
        "llama": lambda: transformers.LlamaConfig(**common, num_key_value_heads=2, bos_token_id=0, eos_token_id=1),
        "modernbert": lambda: transformers.ModernBertConfig(
            **common,
            pad_token_id=0,
            cls_token_id=2,
            sep_token_id=3,
            bos_token_id=2,
            eos_token_id=3,
            local_attention=8,
        ),
        "deberta-v2": lambda: transformers.DebertaV2Config(
            **common,
            relative_attention=True,
            position_buckets=16,
            norm_rel_ebd="layer_norm",
            share_att_key=True,
            pos_att_type=["p2c", "c2p"],
            position_biased_input=False,
            type_vocab_size=0,
        ),
        "electra": lambda: transformers.ElectraConfig(**common, embedding_size=16),
        "albert": lambda: transformers.AlbertConfig(**common, embedding_size=16),
        "t5": lambda: transformers.T5Config(
            vocab_size=VOCABULARY,
            d_model=WIDTH,
            d_kv=WIDTH // HEADS,
            d_ff=INNER,
            num_layers=blocks,
            num_heads=HEADS,
            pad_token_id=0,
            eos_token_id=1,
            decoder_start_token_id=0,
        ),
    }
    return make[family]()


def _tokenizer(kind: str) -> Any:
    from tokenizers import Tokenizer, models, normalizers, pre_tokenizers, processors
    from transformers import PreTrainedTokenizerFast

    special = SPECIAL[kind]
    words = [*special.values(), *FILLER, *(word for group in TELLING.values() for word in group)]
    vocabulary = {word: number for number, word in enumerate(words)}
    tokenizer = Tokenizer(models.WordLevel(vocabulary, unk_token=special["unk_token"]))
    tokenizer.normalizer = normalizers.Lowercase()
    tokenizer.pre_tokenizer = pre_tokenizers.Whitespace()
    first, last = special.get("cls_token"), special.get("sep_token", special.get("eos_token"))
    if first:
        tokenizer.post_processor = processors.TemplateProcessing(
            single=f"{first} $A {last}",
            pair=f"{first} $A {last} $B:1 {last}:1",
            special_tokens=[(first, vocabulary[first]), (last, vocabulary[last])],
        )
    elif kind == "t5":
        tokenizer.post_processor = processors.TemplateProcessing(
            single=f"$A {last}", pair=f"$A $B:1 {last}", special_tokens=[(last, vocabulary[last])]
        )
    # As BERT's own tokeniser: it makes token types. Those of models without them are to be left out by the loader.
    inputs = ["input_ids", "token_type_ids", "attention_mask"]
    return PreTrainedTokenizerFast(
        tokenizer_object=tokenizer, model_max_length=POSITIONS, model_input_names=inputs, **special
    )


@pytest.fixture(scope="session")
def tiny_model(tmp_path_factory: pytest.TempPathFactory) -> Callable[..., Path]:
    """`tiny_model(family, blocks=4)`: the folder of a random model of width 32, as save_pretrained writes it."""
    made: dict[tuple[str, int], Path] = {}

    def make(family: str = "bert", blocks: int = BLOCKS) -> Path:
        if (family, blocks) not in made:
            import torch
            from transformers import AutoModel

            torch.set_num_threads(1)
            folder = tmp_path_factory.mktemp(f"{family}-{blocks}", numbered=False)
            with torch.random.fork_rng():
                torch.manual_seed(0)
                AutoModel.from_config(_config(family, blocks)).save_pretrained(folder)
            _tokenizer(SPECIAL_OF.get(family, "bert")).save_pretrained(folder)
            made[family, blocks] = folder
        return made[family, blocks]

    return make


@pytest.fixture(scope="session")
def tiny_bert(tiny_model: Callable[..., Path]) -> Path:
    """The folder of a random BERT: 4 blocks, width 32, 64 positions."""
    return tiny_model("bert")


@pytest.fixture(scope="session")
def toy_data() -> Callable[..., DataBundle]:
    """`toy_data(task, pairs=False, train=48, held_out=18)`: rows whose telling words decide the target."""
    return _toy_data


def _toy_data(task: Task = "classification", *, pairs: bool = False, train: int = 48, held_out: int = 18) -> DataBundle:
    generator = np.random.default_rng(7)
    splits, first = {}, 1
    for name, count in (("train", train), ("validation", held_out), ("test", held_out)):
        rows = [_toy_row(generator, task, pairs, number) for number in range(count)]
        kind = np.int64 if task == "classification" else np.float32
        splits[name] = Split(
            name,
            tuple(texts for texts, _ in rows),
            np.array([target for _, target in rows], dtype=kind),
            np.arange(first, first + count),
            "toy.csv",
        )
        first += count
    labels = () if task == "regression" else tuple(TELLING)
    schema = Schema(task, ("first", "second") if pairs else ("message",), "label", labels)
    steps = (DataStep("load", first - 1, first - 1, "made by the test"),)
    return DataBundle(splits, schema, steps, fingerprint=f"toy-{task}-{pairs}-{train}-{held_out}")


def _toy_row(generator: np.random.Generator, task: Task, pairs: bool, number: int) -> tuple[tuple[str, ...], Any]:
    """A row with words of one class (classification), any number of classes (multi-label), or so many telling words
    of one class as its value says (regression)."""
    names = list(TELLING)
    if task == "classification":
        target: Any = number % len(names)
        words = list(generator.choice(TELLING[names[target]], size=2))
    elif task == "multilabel":
        marks = generator.integers(0, 2, size=len(names))
        target = marks.tolist()
        words = [str(generator.choice(TELLING[name])) for name, mark in zip(names, marks, strict=True) if mark]
    else:
        target = float(10 + 5 * (number % 4))
        words = ["great"] * (number % 4)
    words += list(generator.choice(FILLER, size=int(generator.integers(2, 9))))
    text = " ".join(str(word) for word in generator.permutation(words))
    return (text, " ".join(str(word) for word in generator.choice(FILLER, size=4))) if pairs else (text,), target
