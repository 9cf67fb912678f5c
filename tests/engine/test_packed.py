"""Packing is for models that are proven to read packed rows as rows."""

from __future__ import annotations

from pathlib import Path
from types import SimpleNamespace
from typing import Any

import pytest

from tests.models import language_bench as bench
from tunewise.engine.packed import packed_rows
from tunewise.errors import MethodError
from tunewise.methods import find_method
from tunewise.models.load import Net


def method(name: str) -> Any:
    kind = find_method(name)
    return kind(kind.Config())


METHOD = method("full")


def net_of(model: Any, longest: int = 40) -> Net:
    shape = SimpleNamespace(width=bench.WIDTH, family=model.config.model_type)
    return Net(model, None, shape, SimpleNamespace(path=Path("x")), longest)


@pytest.mark.parametrize("family", ["llama", "gpt2", "gemma3"])
def test_most_models_read_rows_from_positions(family: str) -> None:
    packed = packed_rows(bench.rows(), net_of(bench.language_model(family)), METHOD)
    assert not packed.masked


def test_a_model_whose_attention_knows_no_positions_gets_a_mask() -> None:
    assert packed_rows(bench.rows(), net_of(bench.language_model("opt")), METHOD).masked


def test_models_that_read_on_across_rows_are_refused() -> None:
    """Mamba has neither positions nor attention."""
    import transformers

    config = transformers.MambaConfig(vocab_size=bench.VOCABULARY, hidden_size=16, num_hidden_layers=1, state_size=4)
    with pytest.raises(MethodError, match="does not read packed rows"):
        packed_rows(bench.rows(), net_of(transformers.MambaForCausalLM(config)), METHOD)


def test_rows_of_encoders_with_decoders_are_refused() -> None:
    with pytest.raises(MethodError, match="encoder and a decoder"):
        packed_rows(bench.rows(sources=True), net_of(bench.language_model("t5")), METHOD)


def test_virtual_tokens_are_refused() -> None:
    with pytest.raises(MethodError, match="virtual tokens"):
        packed_rows(bench.rows(), net_of(bench.language_model("llama")), method("prompt_tuning"))


def test_the_mode_of_the_model_stays() -> None:
    model = bench.language_model("llama")
    packed_rows(bench.rows(), net_of(model), METHOD)
    assert model.training
