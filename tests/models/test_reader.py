"""A net without weights reads texts exactly as the net that trains does."""

from __future__ import annotations

from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest

from tunewise.engine.encode import encode
from tunewise.errors import ModelError
from tunewise.models.load import load_net, load_reader
from tunewise.models.locate import locate
from tunewise.types import Schema

WORDS = "the parcel did not come and my money is gone please refund it at once"
TEXTS = [(" ".join(WORDS.split()[:count] * 9),) for count in (1, 3, 9, 15)] + [("",), ("ß🙂 naïve",)]
SCHEMA = Schema("classification", ("text",), "label", ("a", "b"))


@pytest.mark.parametrize(
    "options", [{}, {"max_length": 9, "kept": "tail"}, {"max_length": 20, "kept": "both"}], ids=str
)
@pytest.mark.parametrize("family", ["bert", "roberta", "distilbert", "gpt2", "t5", "modernbert", "llama"])
def test_it_reads_as_the_net_that_trains(family: str, options: dict[str, Any], tiny_model: Callable[..., Path]) -> None:
    located = locate(str(tiny_model(family)), Path())
    net, reader = load_net(located, SCHEMA, **options), load_reader(located, SCHEMA, **options)
    assert (reader.max_length, reader.positions, reader.kept) == (net.max_length, net.positions, net.kept)
    assert reader.tokenizer.model_input_names == net.tokenizer.model_input_names
    trained, looked = encode(TEXTS, net), encode(TEXTS, reader)
    assert [row.tolist() for row in looked.ids] == [row.tolist() for row in trained.ids]
    assert (looked.cut, looked.lost, looked.pad) == (trained.cut, trained.lost, trained.pad)


def test_no_weights_are_read(tiny_bert: Path) -> None:
    reader = load_reader(locate(str(tiny_bert), Path()), SCHEMA)
    assert {parameter.device.type for parameter in reader.model.parameters()} == {"meta"}


def test_a_tokeniser_that_does_not_belong_to_the_model_is_refused_as_in_training(
    tiny_bert: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    from transformers import ByT5Tokenizer

    monkeypatch.setattr("tunewise.models.load.load_tokenizer", lambda located: ByT5Tokenizer(model_max_length=64))
    entities = Schema("token_classification", ("tokens",), "tags", ("O", "B-x", "I-x"))
    for load in (load_net, load_reader):
        with pytest.raises(ModelError, match=r"does not tell where|ids up to"):
            load(locate(str(tiny_bert), Path()), entities)
