"""Partial and phased training, step by step: what must be equal bit for bit, and what must stay."""

from __future__ import annotations

from collections.abc import Callable

import pytest
import torch
from safetensors.torch import load_file
from training_bench import Recorder, Setup

from tunewise.engine.events import Step

# 48 rows in batches of 8: 6 steps per epoch. With dropout, so that the state of the random numbers counts.
COMMON = {"max_steps": 12, "dropout": 0.2, "keep_best": False, "warmup": 0}


def losses(training: Callable[..., Setup], method: str, at: str, **settings) -> tuple[list[float], Setup]:
    recorder = Recorder()
    setup = training(method, at=at, observers=[recorder], **{**COMMON, **settings})
    setup.train()
    return [step.loss for step in recorder.of(Step)], setup


@pytest.mark.parametrize("rule", ["beit", "electra"])
def test_layerwise_without_decay_is_full_bit_for_bit(training, rule):
    full, one = losses(training, "full", "a")
    same, other = losses(training, "layerwise", "b", options={"decay": 1, "rule": rule})
    assert same == full and other.digest == one.digest
    less, _ = losses(training, "layerwise", "c", options={"decay": 0.5, "rule": rule})
    assert less[0] == full[0] and less != full


def test_a_pattern_of_everything_is_full_bit_for_bit(training):
    full, one = losses(training, "full", "a", options={"head_rate": 1})
    same, other = losses(training, "pattern", "b")
    assert same == full and other.digest == one.digest


def test_the_probe_of_lp_ft_is_the_linear_probe_bit_for_bit(training):
    """From the first loss to the first after the probe, which is that of the same weights; with dropout in the rest of
    the model switched on for full fine-tuning, that one differs. Without the cache, which is for longer phases."""
    head, _ = losses(training, "head", "a", learning_rate=1e-2, cache=False)
    lp_ft, _ = losses(training, "lp_ft", "b", options={"probe_rate": 10.0}, learning_rate=1e-3, cache=False)
    assert round(0.3 * 12) == 4
    assert lp_ft[:4] == head[:4] and lp_ft[4:] != head[4:]
    without, _ = losses(training, "head", "c", learning_rate=1e-2, dropout=0.0, cache=False)
    tuned, _ = losses(
        training, "lp_ft", "d", options={"probe_rate": 10.0}, learning_rate=1e-3, dropout=0.0, cache=False
    )
    assert tuned[:4] == without[:4] and tuned[4] == pytest.approx(without[4], rel=1e-5) and tuned[5] != without[5]


@pytest.mark.parametrize("family", ["bert", "gpt2", "llama", "t5"])
@pytest.mark.parametrize("method", ["attention", "feed_forward"])
def test_one_half_trains_and_the_other_is_bit_identical(training, family, method):
    setup = training(method, family=family, max_steps=3, keep_best=False, weight_decay=0.3)
    before = setup.weights
    setup.train()
    moved = {name for name, tensor in setup.weights.items() if not torch.equal(tensor, before[name])}
    kinds = {tensor.name: tensor.kind for tensor in setup.net.map.tensors}
    assert {kinds[name] for name in moved} - {"bias"} == {method, "head"}
    biases = {name.removesuffix("bias") + "weight" for name in moved if kinds[name] == "bias"}
    assert {kinds[weight] for weight in biases} <= {method} and bool(biases) == (family in ("bert", "gpt2"))


@pytest.mark.parametrize("method", ["gradual", "ulmfit"])
def test_moments_are_kept_as_groups_join(training, method):
    """AdamW counts its steps per tensor: from when the tensor's group was unfrozen to the end, without a new start."""
    setup = training(method, options={"over": 0.75}, **{**COMMON, "save_steps": 12})
    plans = setup.train().plans
    starts = [plan["step"] for plan in plans]
    assert starts == [0, 3, 6, 9]  # head, block 1, block 0, embedding
    folder = setup.job.checkpoints.latest()
    state = load_file(folder / "optimizer.safetensors")
    counted = {name.partition("|")[0]: int(value) for name, value in state.items() if name.endswith("|step")}
    for start, group in zip(starts, reversed(setup.net.map.groups), strict=True):
        assert {counted[tensor.name] for tensor in group} == {12 - start}


def test_chain_thaw_trains_one_layer_at_a_time(training):
    setup = training("chain_thaw", options={"probe_share": 0.25, "all_share": 0.25}, **{**COMMON, "save_steps": 3})
    trained = setup.train()
    assert [plan["step"] for plan in trained.plans] == [0, 3, 5, 7, 9]
    state = load_file(setup.job.checkpoints.latest() / "optimizer.safetensors")
    counted = {name.partition("|")[0]: int(value) for name, value in state.items() if name.endswith("|step")}
    embedding, first, second, head = setup.net.map.groups
    expected = {"embedding": 2 + 3, "first": 2 + 3, "second": 2 + 3, "head": 3 + 3}
    groups = {"embedding": embedding, "first": first, "second": second, "head": head}
    assert {name: {counted[t.name] for t in group} for name, group in groups.items()} == {
        name: {steps} for name, steps in expected.items()
    }
