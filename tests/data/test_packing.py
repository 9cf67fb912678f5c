"""Rows packed into sequences are where they should be; log-probabilities and gradients are those of each row alone."""

from __future__ import annotations

import numpy as np
import pytest
import torch
from hypothesis import given
from hypothesis import strategies as st

from tests.models import language_bench as bench
from tunewise.config.reading import PACKED_ROWS
from tunewise.data.labelled import LabelledTokens
from tunewise.data.packing import (
    PackedTokens,
    best_fit,
    cheapest_bins,
    shared_batch,
    shared_shape,
)
from tunewise.data.ragged import Ragged
from tunewise.models.token_losses import token_log_probs

PACKS = [family for family in bench.DECODERS if family != "phi"]  # phi is of llama's kind


def test_best_fit_by_hand() -> None:
    assert best_fit(np.array([4, 7, 3, 5, 1]), 8) == [[1, 4], [3, 2], [0]]
    assert best_fit(np.array([9, 2]), 8) == [[0], [1]]  # one that is too long stands alone


@given(st.lists(st.integers(1, 40), min_size=1, max_size=20), st.integers(40, 120))
def test_every_row_is_in_one_bin_that_it_fits(lengths: list[int], most: int) -> None:
    bins = cheapest_bins(np.array(lengths), most, 8)
    assert sorted(place for rows in bins for place in rows) == list(range(len(lengths)))
    assert all(sum(lengths[place] for place in rows) <= most for rows in bins)
    assert len(bins) * max(sum(lengths[place] for place in rows) for rows in bins) <= len(lengths) * max(lengths)


def test_a_packed_batch_by_hand() -> None:
    tokens = LabelledTokens(
        Ragged.of([[5, 6, 7], [8, 9], [3, 4, 5, 6, 7]], np.int32),
        Ragged.of([[0, 1, 1], [1, 1], [0, 0, 1, 0, 1]], np.int8),
        0,
    )
    batch = PackedTokens(tokens, 5, 4).batch([1, 2, 0])
    assert {name: values.tolist() for name, values in batch.items()} == {
        "input_ids": [[3, 4, 5, 6, 7], [5, 6, 7, 8, 9]],
        "position_ids": [[0, 1, 2, 3, 4], [0, 1, 2, 0, 1]],
        "labels": [[-100, -100, 5, -100, 7], [-100, 6, 7, -100, 9]],  # nothing gives a row's first token
        PACKED_ROWS: [[1, 1, 1, 1, 1], [2, 2, 2, 0, 0]],
    }
    assert PackedTokens(tokens, 5, 4).shape([1, 2, 0]) == (2, 5)


@pytest.mark.parametrize("family", PACKS)
def test_packed_rows_have_the_losses_and_gradients_of_rows_alone(family: str) -> None:
    model, tokens, rows = bench.language_model(family), bench.rows(7, seed=1), np.array([5, 0, 3, 1, 6, 2])
    packed = PackedTokens(tokens, 40, 10_000, masked=family == "opt").batch(rows)
    assert packed["input_ids"].shape[0] == 3
    weights = torch.linspace(-1, 2, len(rows))
    alone = token_log_probs(model, tokens.batch(rows))
    expected = bench.gradients(model, (alone.row_sums() * weights).sum())
    together = token_log_probs(model, packed)
    torch.testing.assert_close(together.row_numbers(), alone.row_numbers(), rtol=1e-5, atol=1e-5)
    bench.assert_equal(bench.gradients(model, (together.row_sums() * weights).sum()), expected)


def answers(shared: int) -> LabelledTokens:
    """Three prompts, each with two answers: all first ones, then all second ones."""
    draw = np.random.default_rng(2)
    prompts = [draw.integers(3, bench.VOCABULARY, shared + extra) for extra in (1, 3, 2)] * 2
    rows = [np.concatenate([prompt, draw.integers(3, bench.VOCABULARY, draw.integers(2, 6))]) for prompt in prompts]
    learnt = [np.arange(len(row)) >= len(prompt) for row, prompt in zip(rows, prompts, strict=True)]
    return LabelledTokens(Ragged.of(rows, np.int32), Ragged.of(learnt, np.int8), 0)


@pytest.mark.parametrize("family", ["llama", "gpt2", "qwen3", "opt", "gemma3"])
@pytest.mark.parametrize("attention", ["sdpa", "eager"])
@pytest.mark.parametrize("shared", [0, 4])
def test_answers_that_share_their_prompt_have_the_losses_and_gradients_of_rows_alone(
    family: str, attention: str, shared: int
) -> None:
    model, tokens, rows = bench.language_model(family), answers(shared), np.array([0, 1, 2, 3, 4, 5])
    if family == "gemma3":  # a mask of our own knows nothing of windows: no window that a row could leave
        model = type(model)(type(model.config)(**{**model.config.to_dict(), "sliding_window": 64}))
    model.set_attn_implementation(attention)
    groups = [(0, 3), (1, 4), (2, 5)]
    batch = shared_batch(tokens, rows, groups)
    assert tuple(batch["input_ids"].shape) == shared_shape(tokens, rows, groups)
    assert (batch["input_ids"] != 0).sum() == sum(tokens.lengths) - 3 * shared - (0 + 2 + 1)
    weights = torch.tensor([1.0, -0.5, 2.0, 0.3, 1.5, -1.0])
    alone = token_log_probs(model, tokens.batch(rows))
    expected = bench.gradients(model, (alone.row_sums() * weights).sum())
    together = token_log_probs(model, batch)
    torch.testing.assert_close(together.row_numbers(), alone.row_numbers(), rtol=1e-5, atol=1e-5)
    bench.assert_equal(bench.gradients(model, (together.row_sums() * weights).sum()), expected)


def test_a_shared_prompt_by_hand() -> None:
    tokens = LabelledTokens(
        Ragged.of([[5, 6, 7, 8], [5, 6, 7, 9, 4]], np.int32), Ragged.of([[0, 0, 0, 1], [0, 0, 0, 1, 1]], np.int8), 0
    )
    batch = shared_batch(tokens, [0, 1], [(0, 1)])
    looks = batch.pop("attention_mask")[0, 0].int().tolist()
    assert {name: values.tolist()[0] for name, values in batch.items()} == {
        "input_ids": [5, 6, 7, 8, 7, 9, 4],  # the last of the prompt opens each answer
        "position_ids": [0, 1, 2, 3, 2, 3, 4],
        "labels": [-100, -100, -100, 8, -100, 9, 4],
        PACKED_ROWS: [-1, -1, 0, 0, 1, 1, 1],
    }
    assert looks == [
        [1, 0, 0, 0, 0, 0, 0],
        [1, 1, 0, 0, 0, 0, 0],
        [1, 1, 1, 0, 0, 0, 0],
        [1, 1, 1, 1, 0, 0, 0],
        [1, 1, 0, 0, 1, 0, 0],
        [1, 1, 0, 0, 1, 1, 0],
        [1, 1, 0, 0, 1, 1, 1],
    ]
