"""Packing is for models that are proven to read packed rows as rows."""

from __future__ import annotations

from pathlib import Path
from types import SimpleNamespace
from typing import Any

import numpy as np
import pytest
import torch

from tests.models import language_bench as bench
from tunewise.data.labelled import LabelledTokens
from tunewise.data.pairs import PairTokens
from tunewise.data.ragged import Ragged
from tunewise.engine.packed import packed_rows
from tunewise.errors import MethodError
from tunewise.methods import find_method
from tunewise.models.load import Net
from tunewise.objectives.reference import pair_numbers


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

    config = transformers.MambaConfig(
        vocab_size=bench.VOCABULARY, hidden_size=16, num_hidden_layers=2, initializer_range=1.0
    )
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


@pytest.mark.parametrize("family", ["llama", "gpt2"])
def test_pairs_of_answers_share_their_prompt(family: str) -> None:
    """What dpo is made of is the same, from one sequence instead of two."""
    first, second = pairs()
    read = PairTokens.of(first, second, reference=np.zeros((3, 2)))
    model = bench.language_model(family)
    sharing = packed_rows(read, net_of(model), METHOD)
    batch, rows = sharing.batch(np.array([2, 0])), np.array([2, 0])
    assert batch["input_ids"].shape[0] == 2 and read.batch(rows)["input_ids"].shape[0] == 4
    assert sharing.shape(rows) == tuple(batch["input_ids"].shape)
    ours, theirs = pair_numbers(model, batch), pair_numbers(model, read.batch(rows))
    torch.testing.assert_close(ours, theirs, rtol=1e-5, atol=1e-5)
    expected = bench.gradients(model, (theirs[:, 0] - 2 * theirs[:, 1]).sigmoid().sum())
    bench.assert_equal(bench.gradients(model, (ours[:, 0] - 2 * ours[:, 1]).sigmoid().sum()), expected)


def pairs() -> list[LabelledTokens]:
    draw, found = np.random.default_rng(0), []
    prompts = [draw.integers(3, bench.VOCABULARY, length) for length in (9, 5, 7)]
    for _ in range(2):
        rows = [np.concatenate([prompt, draw.integers(3, bench.VOCABULARY, draw.integers(1, 4))]) for prompt in prompts]
        learnt = [np.arange(len(row)) >= len(prompt) for row, prompt in zip(rows, prompts, strict=True)]
        found.append(LabelledTokens(Ragged.of(rows, np.int32), Ragged.of(learnt, np.int8), 0))
    return found
