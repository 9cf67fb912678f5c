"""Fixtures for every room: tiny random models with real tokenisers, and toy data that can be learned."""

from __future__ import annotations

import os

# Set before torch is imported anywhere: one thread (the tests run on few cores), no network.
os.environ.setdefault("OMP_NUM_THREADS", "1")
os.environ.setdefault("TOKENIZERS_PARALLELISM", "false")
os.environ["HF_HUB_OFFLINE"] = "1"

from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any

import numpy as np
import pytest
from hypothesis import settings

from tunewise.conformance.models import (
    BLOCKS,
    IMAGE,
    SPECIAL_OF,
    TEXT,
    make_model,
    make_tokenizer,
    numbered_sizes,
    sizes,
)
from tunewise.conformance.toy_data import FILLER, TELLING, telling_words, with_filler
from tunewise.data.labels import to_targets
from tunewise.data.tags import Tags, tag_names
from tunewise.types import DataBundle, DataStep, Schema, Split, Task

# The same examples on every machine; `HYPOTHESIS_PROFILE=random` searches for new ones.
settings.register_profile("fixed", derandomize=True, database=None)
settings.register_profile("random", database=None)
settings.load_profile(os.environ.get("HYPOTHESIS_PROFILE", "fixed"))

# A family's tokeniser where it is not BERT's.
TOKENIZERS = {**SPECIAL_OF, "mpnet": "roberta"}


def _config(family: str, blocks: int) -> Any:
    """The conformance suite's, and of some families beyond."""
    import transformers

    make: dict[str, Callable[[int], Any]] = {
        **TEXT,
        **IMAGE,
        "mpnet": lambda blocks: transformers.MPNetConfig(**numbered_sizes(blocks), bos_token_id=0, eos_token_id=2),
        "deberta-v2": lambda blocks: transformers.DebertaV2Config(
            **sizes(blocks),
            relative_attention=True,
            position_buckets=16,
            norm_rel_ebd="layer_norm",
            share_att_key=True,
            pos_att_type=["p2c", "c2p"],
            position_biased_input=False,
            type_vocab_size=0,
        ),
        "electra": lambda blocks: transformers.ElectraConfig(**sizes(blocks), embedding_size=16),
        "albert": lambda blocks: transformers.AlbertConfig(**sizes(blocks), embedding_size=16),
    }
    return make[family](blocks)


@pytest.fixture(scope="session", autouse=True)
def cache_of_the_tests(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Path]:
    """A cache of their own for this session and its child processes."""
    root = tmp_path_factory.mktemp("cache")
    with pytest.MonkeyPatch.context() as patch:
        patch.setenv("TUNEWISE_CACHE", str(root))
        patch.delenv("TUNEWISE_CACHE_LIMIT", raising=False)
        yield root


@pytest.fixture(scope="session")
def tiny_model(tmp_path_factory: pytest.TempPathFactory) -> Callable[..., Path]:
    """`tiny_model(family, blocks=4)`: the folder of a random model of width 32, as save_pretrained writes it."""
    made: dict[tuple[str, int], Path] = {}

    def make(family: str = "bert", blocks: int = BLOCKS) -> Path:
        if (family, blocks) not in made:
            import torch

            torch.set_num_threads(1)
            folder = tmp_path_factory.mktemp(f"{family}-{blocks}", numbered=False)
            make_model(_config(family, blocks), folder)
            if family not in IMAGE:
                make_tokenizer(TOKENIZERS.get(family, "bert")).save_pretrained(folder)
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
        words = telling_words(target, generator)
    elif task == "multilabel":
        marks = generator.integers(0, 2, size=len(names))
        target = marks.tolist()
        words = [str(generator.choice(TELLING[name])) for name, mark in zip(names, marks, strict=True) if mark]
    else:
        target = float(10 + 5 * (number % 4))
        words = ["great"] * (number % 4)
    text = with_filler(words, generator)
    return (text, " ".join(str(word) for word in generator.choice(FILLER, size=4))) if pairs else (text,), target


@pytest.fixture(scope="session")
def tagged_data() -> Callable[..., DataBundle]:
    """`tagged_data(train=48, held_out=18)`: rows of words, of which one or two that belong together are an entity of
    the type that they tell."""

    def make(train: int = 48, held_out: int = 18) -> DataBundle:
        generator = np.random.default_rng(7)
        rows = [_tagged_row(generator) for _ in range(train + 2 * held_out)]
        labels = tag_names({f"B-{kind}" for kind in TELLING})
        schema = Schema("token_classification", ("tokens",), "tags", labels)
        splits, first = {}, 0
        for name, count in (("train", train), ("validation", held_out), ("test", held_out)):
            part = rows[first : first + count]
            texts = tuple((" ".join(words),) for words, _ in part)
            numbers = np.arange(first + 1, first + count + 1)
            splits[name] = Split(name, texts, to_targets([tags for _, tags in part], schema), numbers, "toy.conll")
            first += count
        steps = (DataStep("load", first, first, "made by the test"),)
        return DataBundle(splits, schema, steps, fingerprint=f"toy-tags-{train}-{held_out}")

    return make


def _tagged_row(generator: np.random.Generator) -> tuple[list[str], Tags]:
    words, tags = [], []
    for kind in generator.choice([*TELLING, ""], size=int(generator.integers(2, 5))):
        if kind:
            count = int(generator.integers(1, 3))
            words += generator.choice(TELLING[kind], size=count).tolist()
            tags += [f"B-{kind}", f"I-{kind}"][:count]
        words += (filler := generator.choice(FILLER, size=int(generator.integers(1, 4))).tolist())
        tags += ["O"] * len(filler)
    return words, Tags(tags)
