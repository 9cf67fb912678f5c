"""Whole trainings with the frozen-prefix cache: the same result as without, bits on resume, and honest costs."""

from __future__ import annotations

import copy
from collections.abc import Callable
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import torch
from training_bench import At, Recorder, Setup

from tunewise.commit import default_cache
from tunewise.engine.evaluation import evaluate
from tunewise.engine.events import Step, Warned
from tunewise.engine.stop import Stop
from tunewise.engine.train import Trained
from tunewise.errors import Interrupted

MODES = {"epochs": 3, "dropout": 0.0, "keep_best": False}


@pytest.fixture(autouse=True)
def fresh_cache(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    """An empty cache for each test."""
    monkeypatch.setenv("TUNEWISE_CACHE", str(tmp_path / "cache"))
    return tmp_path / "cache"


def kinds() -> list[tuple[str, str, int]]:
    return sorted(
        (entry.about["what"], entry.about["precision"], entry.about["rows"]) for entry in default_cache().entries()
    )


def forget() -> None:
    default_cache().clear()


def assert_same_weights(found: dict[str, torch.Tensor], wanted: dict[str, torch.Tensor]) -> None:
    """Up to rounding. Keys' biases have no gradient but rounding, which Adam makes as large as any."""
    for name, value in wanted.items():
        if not name.endswith("key.bias"):
            torch.testing.assert_close(found[name], value, rtol=5e-3, atol=5e-4, msg=name)


CASES = {
    "head": ("head", {}),
    "last_k": ("last_k", {"k": 1}),
    "mlp_head": ("mlp_head", {}),
}


@pytest.mark.parametrize("family", ["bert", "gpt2"])
@pytest.mark.parametrize("case", CASES)
def test_weights_are_those_of_training_without_it(case: str, family: str, training: Callable[..., Setup]) -> None:
    method, options = CASES[case]
    runs, losses, flops = [], [], []
    for cache in (False, True):
        recorder = Recorder()
        setup = training(
            method, family=family, options=options, at=f"{cache}", cache=cache, observers=[recorder], **MODES
        )
        runs.append((setup.train(), setup.weights))
        losses.append([event.loss for event in recorder.of(Step)])
        flops.append(sum(event.forward_flops for event in recorder.of(Step)))
        assert bool(default_cache().entries()) == cache
    np.testing.assert_allclose(*losses, rtol=1e-4)
    assert flops[1] < (0.6 if method == "last_k" else 0.2) * flops[0]
    (plain, weights), (cached, same) = runs
    # GPT-2's head goes over all tokens of a text, of which it reads one.
    assert cached.backward_flops == plain.backward_flops or family == "gpt2"
    assert_same_weights(same, weights)


def test_each_phase_reads_what_is_below_it(training: Callable[..., Setup]) -> None:
    """Gradual unfreezing of 2 blocks: phases with 2 frozen blocks, with 1, and with none."""
    settings = {**MODES, "epochs": 12}
    setup = training("gradual", at="a", **settings)
    trained = setup.train()
    found = {(entry.about["depth"], entry.about["what"]) for entry in default_cache().entries()}
    assert len(trained.plans) > 2 and found == {(2, "first"), (1, "tokens")}
    plain = training("gradual", at="b", cache=False, **settings)
    plain.train()
    assert_same_weights(setup.weights, plain.weights)
    assert not any("forward" in vars(module) for module in setup.net.model.modules())


def test_a_phase_that_reads_its_rows_once_fills_nothing(training: Callable[..., Setup]) -> None:
    training("head", at="a", **{**MODES, "epochs": 1}).train()
    assert default_cache().entries() == []


def test_full_fine_tuning_has_nothing_to_keep(training: Callable[..., Setup]) -> None:
    setup = training("full", **MODES)
    trained = setup.train()
    trained.outputs([("my refund is late",)], 8, lambda: None)
    assert default_cache().entries() == [] and setup.net.notes == ()


def test_a_refusal_is_noted_once(training: Callable[..., Setup]) -> None:
    recorder = Recorder()
    setup = training("head", family="t5", observers=[recorder], **MODES)
    setup.train()
    (note,) = setup.net.notes
    assert "encoder-decoder" in note and not recorder.of(Warned)


def test_a_ladder_reads_all_blocks_and_is_left_alone(training: Callable[..., Setup]) -> None:
    training("ladder", **MODES).train()
    assert default_cache().entries() == []


@pytest.mark.parametrize("method", ["head", "last_k"])
@pytest.mark.parametrize("kept", [True, False])
def test_a_resumed_run_has_the_same_bits(method: str, kept: bool, training: Callable[..., Setup]) -> None:
    """Whether the entry is still there or has to be made again."""
    options = {"k": 1} if method == "last_k" else {}
    settings = {"options": options, "epochs": 3, "dropout": 0.3, "save_steps": 4}
    whole = training(method, at="whole", **settings)
    trained = whole.train()
    forget()
    stop = Stop()

    def interrupt() -> None:
        stop.requested = True

    with pytest.raises(Interrupted):
        training(method, at="part", stop=stop, observers=[At(7, interrupt)], **settings).train()
    if not kept:
        forget()
    resumed = training(method, at="part", **settings)
    again = resumed.train()
    assert resumed.digest == whole.digest
    assert again.curve == trained.curve
    # Its own work, not somebody else's, and not twice.
    assert again.elsewhere_flops == 0 and again.forward_flops == trained.forward_flops


def test_costs_are_those_of_a_run_alone(training: Callable[..., Setup]) -> None:
    first = training("last_k", options={"k": 1}, at="a", **MODES).train()
    second = training("last_k", options={"k": 1}, at="b", seed=1, **MODES).train()
    assert first.elsewhere_flops == first.elsewhere_seconds == 0
    assert 0 < second.forward_flops < first.forward_flops
    assert second.forward_flops + second.elsewhere_flops == pytest.approx(first.forward_flops, rel=1e-9)
    entries = [entry.about["seconds"] for entry in default_cache().entries()]
    assert second.elsewhere_seconds <= sum(entries)


def test_flops_are_those_that_torch_counts(training: Callable[..., Setup]) -> None:
    from torch.utils.flop_counter import FlopCounterMode

    setup = training("last_k", options={"k": 1}, **{**MODES, "evaluate_every": 10**6})
    setup.net.model.set_attn_implementation("eager")
    with FlopCounterMode(display=False) as counter:
        trained = setup.train()
    validation = counter.get_total_flops() - trained.forward_flops - trained.backward_flops
    # Of the batches that each proof runs over, one position costs less than is counted for it.
    assert abs(validation) < 0.25 * counter.get_total_flops()


def outputs_of(trained: Trained, setup: Setup, name: str = "test") -> np.ndarray:
    return trained.outputs(setup.job.data.splits[name].texts, 8, lambda: None)


def test_evaluation_reads_too_and_says_the_same(training: Callable[..., Setup]) -> None:
    setup = training("last_k", options={"k": 1}, **MODES)
    trained = setup.train()
    before = len(kinds())
    read = outputs_of(trained, setup)
    assert ("tokens", "fp32", 18) in kinds() and len(kinds()) >= before
    plain = copy.copy(trained)
    plain.reader = type(trained.reader)(trained.net, trained.plan, (), None)
    np.testing.assert_allclose(read, outputs_of(plain, setup), rtol=1e-5, atol=1e-5)
    results = evaluate(trained, setup.job.data, setup.job.evaluator, lambda: None)
    assert results.predict_ms_per_example > 0 and trained.reader.spent.forward_seconds > 0


def test_features_are_kept_for_other_seeds(training: Callable[..., Setup]) -> None:
    first = training("features", at="a")
    one = first.train()
    count = len(default_cache().entries())
    assert {entry.about["kind"] for entry in default_cache().entries()} == {"features"} and count == 2
    second = training("features", at="b", seed=1)
    two = second.train()
    assert len(default_cache().entries()) == count and two.forward_flops == 0
    assert two.elsewhere_flops == one.forward_flops > 0
    np.testing.assert_array_equal(one.head.layers[0][0], two.head.layers[0][0])
    without = training("features", at="c", cache=False).train()
    np.testing.assert_array_equal(one.head.layers[0][0], without.head.layers[0][0])
    np.testing.assert_array_equal(outputs_of(one, first), outputs_of(without, first))


def test_what_a_budget_leaves_does_not_hang_on_the_cache(training: Callable[..., Setup], toy_data: Any) -> None:
    """`adaptive` plans by what it has spent: the same plans with the cache and without."""
    data = toy_data(train=64, held_out=6)
    plans = []
    for cache in (True, False):
        setup = training("adaptive", at=f"{cache}", data=data, options={"rho": 0.5}, cache=cache, **MODES)
        plans.append([entry["rules"] for entry in setup.train().plans])
    assert plans[0] == plans[1]


def test_a_limit_is_told_of_and_changes_nothing(
    training: Callable[..., Setup], monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setenv("TUNEWISE_CACHE_LIMIT", "40KB")
    recorder = Recorder()
    setup = training("last_k", options={"k": 1}, observers=[recorder], at="a", **MODES)
    trained = setup.train()
    assert any("the cache has room for" in event.message for event in recorder.of(Warned))
    plain = training("last_k", options={"k": 1}, cache=False, at="b", **MODES)
    whole = plain.train()
    assert 0 < default_cache().entries()[0].about["kept_rows"] < 48
    assert trained.backward_flops == whole.backward_flops
    assert_same_weights(setup.weights, plain.weights)
