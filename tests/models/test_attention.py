"""The shape of a model's attention on the data of a run."""

from __future__ import annotations

import json
from dataclasses import replace
from pathlib import Path

import peft
import pytest
import torch
import transformers

from tunewise.models.attention import AttentionShape, attention_of, use_attention
from tunewise.models.load import load_net
from tunewise.models.locate import check_folder
from tunewise.models.located import LocatedModel
from tunewise.types import Schema, Split


def located(**config) -> LocatedModel:
    return LocatedModel("model", Path("model"), config, "0" * 64)


BERT = {"num_attention_heads": 12, "hidden_size": 384, "attention_probs_dropout_prob": 0.1}


def with_texts(data, *texts: str):
    shaped = replace(data.splits["train"], texts=tuple((text,) for text in texts))
    return replace(data, splits={**data.splits, "train": shaped})


def replace_texts(split: Split, times: int) -> Split:
    return replace(split, texts=tuple(tuple(part * times for part in row) for row in split.texts))


@pytest.mark.parametrize(
    ("characters", "tokens"), [(1, 16), (64, 16), (68, 32), (128, 32), (130, 32), (134, 64), (1000, 256), (9000, 512)]
)
def test_the_typical_length_is_rounded_up(toy_data, characters: int, tokens: int) -> None:
    data = with_texts(toy_data(), "x" * characters, "x" * characters)
    assert attention_of(located(**BERT), data, None, None) == AttentionShape(12, 32, tokens, True)


def test_the_recipe_goes_first(toy_data) -> None:
    data = with_texts(toy_data(), "x" * 1000)
    assert attention_of(located(**BERT), data, 0.0, 100) == AttentionShape(12, 32, 100, False)
    assert attention_of(located(**BERT | {"attention_probs_dropout_prob": 0.0}), data, 0.2, None).drops


def test_both_texts_of_a_pair_count(toy_data) -> None:
    pairs = toy_data(pairs=True)
    characters = sum(len(a) + len(b) for a, b in pairs.splits["train"].texts) / len(pairs.splits["train"])
    doubled = replace(pairs, splits={"train": replace_texts(pairs.splits["train"], 2)})
    assert 32 < characters <= 64 and attention_of(located(**BERT), pairs, None, None).tokens == 16
    assert attention_of(located(**BERT), doubled, None, None).tokens == 32


def test_models_without_attention_and_images_have_none(toy_data) -> None:
    data = toy_data()
    assert attention_of(located(hidden_sizes=[8, 16]), data, None, None) is None
    images = replace(data, schema=replace(data.schema, text=()))
    assert attention_of(located(**BERT), images, None, None) is None


@pytest.mark.parametrize("family", ["bert", "distilbert", "roberta", "gpt2", "llama", "t5"])
def test_config_json_tells_what_transformers_reads_from_it(family: str, tiny_model, toy_data) -> None:
    folder = tiny_model(family)
    config = transformers.AutoConfig.from_pretrained(folder)
    assert json.loads((folder / "config.json").read_text())["model_type"] == family
    shape = attention_of(check_folder(family, folder), toy_data(), None, None)
    assert shape is not None and shape.heads == config.num_attention_heads
    own = getattr(config, "head_dim", None) or getattr(config, "d_kv", None)
    assert shape.head_width == (own or config.hidden_size // config.num_attention_heads)


def test_a_wrapped_model_is_found_inside(tiny_bert: Path) -> None:
    schema = Schema("classification", ("text",), "label", ("a", "b"))
    model = load_net(check_folder("bert", tiny_bert), schema, attention="eager").model
    wrapped = peft.get_peft_model(model, peft.LoraConfig(target_modules=["query"], task_type="SEQ_CLS"))
    assert use_attention(wrapped, "sdpa", instead_of="eager") and model.config._attn_implementation == "sdpa"
    assert not use_attention(wrapped, "sdpa", instead_of="eager")


def test_what_is_no_model_of_transformers_stays() -> None:
    assert not use_attention(torch.nn.Linear(2, 2), "sdpa", instead_of="eager")
