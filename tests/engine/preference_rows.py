"""Toy preferences: rows whose chosen answer has the words of one class, and tiny models that read them."""

from __future__ import annotations

from pathlib import Path

import numpy as np

from tunewise.conformance.models import SPECIAL_OF, TEXT, make_tokenizer
from tunewise.conformance.toy_data import FILLER, TELLING
from tunewise.types import DataBundle, DataStep, Schema, Split, Task


def preferences(train: int = 48, held_out: int = 16, *, margin: bool = False) -> DataBundle:
    """Prompts of filler words; the chosen answer has words of the first class, the rejected one those of the second."""
    return _bundle("preference", ("prompt", "chosen", "rejected"), train, held_out, margin)


def judged_answers(train: int = 48, held_out: int = 16) -> DataBundle:
    """The same, with one answer each: good (target 1) where its words are of the first class."""
    return _bundle("unpaired_preference", ("prompt", "completion"), train, held_out, False)


def _bundle(task: Task, columns: tuple[str, ...], train: int, held_out: int, margin: bool) -> DataBundle:
    generator = np.random.default_rng(3)
    liked, disliked = (TELLING[name] for name in list(TELLING)[:2])
    splits, first = {}, 1
    for name, count in (("train", train), ("validation", held_out), ("test", held_out)):
        texts, targets = [], np.zeros(count, np.float32)
        for row in range(count):
            prompt = _words(generator, FILLER, 2, 6)
            answers = [_words(generator, words, 1, 5) for words in (liked, disliked)]
            if task == "preference":
                texts.append((prompt, *answers))
            else:
                targets[row] = row % 2
                texts.append((prompt, answers[1 - row % 2]))
        numbers = np.arange(first, first + count)
        more = {"margin": tuple(str(row % 3 / 2) for row in range(count))} if margin else {}
        splits[name] = Split(name, tuple(texts), targets, numbers, "toy.jsonl", more)
        first += count
    steps = (DataStep("load", first - 1, first - 1, "made by the test"),)
    schema = Schema(task, columns, "", (), "completion")
    return DataBundle(splits, schema, steps, fingerprint=f"toy-{task}-{train}-{held_out}-{margin}")


def _words(generator: np.random.Generator, words: tuple[str, ...], least: int, most: int) -> str:
    return " ".join(generator.choice(list(words), size=int(generator.integers(least, most))))


def language_model(folder: Path, family: str = "llama", blocks: int = 2) -> Path:
    """The folder of a tiny random language model with its output layer and tokeniser."""
    import torch
    from transformers import AutoModelForCausalLM, AutoModelForSeq2SeqLM

    config = TEXT[family](blocks)
    kind = AutoModelForSeq2SeqLM if config.is_encoder_decoder else AutoModelForCausalLM
    with torch.random.fork_rng(devices=[]):
        torch.manual_seed(1)
        kind.from_config(config).save_pretrained(folder)
    make_tokenizer(SPECIAL_OF[family]).save_pretrained(folder)
    return folder
