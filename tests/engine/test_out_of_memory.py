"""Memory that runs out in a training: smaller batches, the same rows and the same mean, and an end where none fits."""

from __future__ import annotations

import json
from collections.abc import Callable
from dataclasses import replace
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import torch
from torch import nn
from training_bench import At, Observer, Recorder, Setup

from tunewise.engine.events import Step
from tunewise.engine.handover import save_model
from tunewise.engine.loop import Training
from tunewise.engine.optim import Optimizer
from tunewise.engine.stop import Stop
from tunewise.engine.text_model import load
from tunewise.errors import Interrupted, OutOfMemoryError, TunewiseWarning
from tunewise.types import DataBundle

NO_DECISION = {"threshold": None, "positive": None}
SAID = (
    "[enforce fail at alloc_cpu.cpp:127] . DefaultCPUAllocator: can't allocate memory: you tried to allocate 9 bytes."
)


class Tight(Observer):
    """Memory for so many rows in a batch of training (or of a pass without gradients), from an optimiser step on."""

    def __init__(
        self,
        most: int,
        *,
        after: int = 0,
        in_backward: bool = False,
        training: bool = True,
        error: type[Exception] = torch.OutOfMemoryError,
    ):
        self.most, self.after, self.in_backward, self.training, self.error = most, after, in_backward, training, error
        self.step, self.failures = 0, 0

    def on_step(self, event: Any) -> None:
        self.step = event.step

    def into(self, setup: Setup) -> Setup:
        """Hooks the encoder, which stays where it is whatever is put around it."""
        setup.net.model.base_model.register_forward_hook(self._check)
        return setup

    def _check(self, module: nn.Module, args: Any, output: Any) -> None:
        hidden = output[0]
        if torch.is_grad_enabled() != self.training or self.step < self.after or len(hidden) <= self.most:
            return
        if self.in_backward:
            hidden.register_hook(self._fail)
        else:
            self._fail()

    def _fail(self, *_: Any) -> None:
        self.failures += 1
        raise self.error(SAID if self.error is RuntimeError else "CUDA out of memory. Tried to allocate 20 MiB")


def losses(recorder: Recorder) -> list[float]:
    return [event.loss for event in recorder.of(Step)]


def difference(one: dict[str, torch.Tensor], two: dict[str, torch.Tensor]) -> float:
    """Relative, in all weights at once."""
    whole = torch.cat([tensor.flatten() for tensor in one.values()])
    return float((whole - torch.cat([two[name].flatten() for name in one])).norm() / whole.norm())


@pytest.mark.parametrize(
    ("method", "settings", "tight"),
    [
        ("full", {"batch_size": 16}, Tight(4)),
        ("full", {"batch_size": 16, "group_by_length": False}, Tight(5, in_backward=True)),
        ("full", {"batch_size": 7, "accumulate": 2}, Tight(1, error=RuntimeError)),
        ("lora", {"batch_size": 16}, Tight(8, in_backward=True, error=RuntimeError)),
        ("full", {"batch_tokens": 120}, Tight(3, error=MemoryError)),
    ],
)
def test_halved_batches_have_the_same_mean(
    method: str, settings: dict[str, Any], tight: Tight, training: Callable[..., Setup]
) -> None:
    """In fp32: losses and weights differ by rounding alone."""
    common = {"dropout": 0.0, "epochs": 2, "learning_rate": 1e-4, "keep_best": False, **settings}
    recorders = Recorder(), Recorder()
    plain = training(method, at="a", observers=[recorders[0]], **common)
    halved = tight.into(training(method, at="b", observers=[recorders[1], tight], **common))
    plain.train(), halved.train()
    assert tight.failures > 0
    np.testing.assert_allclose(losses(recorders[1]), losses(recorders[0]), rtol=1e-5)
    assert difference(plain.weights, halved.weights) < 1e-5
    rows = [event.tokens for event in recorders[0].of(Step)]
    assert [event.tokens for event in recorders[1].of(Step)] == rows


def test_a_batch_of_far_more_tokens_in_parts_has_the_same_mean(
    training: Callable[..., Setup], toy_data: Callable[..., DataBundle], monkeypatch: pytest.MonkeyPatch
) -> None:
    """Nothing is told of it: it is as if memory were larger."""
    data = toy_data()
    long = tuple((f"{text} " * 6,) if row < 8 else (text,) for row, (text,) in enumerate(data.splits["train"].texts))
    data = replace(data, splits={**data.splits, "train": replace(data.splits["train"], texts=long)})
    common = {"dropout": 0.0, "epochs": 1, "learning_rate": 1e-4, "keep_best": False, "data": data, "batch_size": 8}
    found = []
    for far_more in (2.0, 1e9):
        monkeypatch.setattr("tunewise.engine.course.FAR_MORE", far_more)
        recorder, sizes = Recorder(), []
        setup = training("full", at=f"{far_more}", observers=[recorder], **common)
        setup.net.model.base_model.register_forward_pre_hook(
            lambda _, args, sizes=sizes: sizes.append(tuple(args[0].shape))
        )
        setup.train()
        found.append((setup, losses(recorder), sizes, setup.job.observers.warnings))
    (parts, losses_in_parts, sizes, told), (whole, losses_whole, sizes_whole, told_whole) = found
    assert max(map(np.prod, sizes)) < 0.6 * max(map(np.prod, sizes_whole)) and len(sizes) > len(sizes_whole)
    np.testing.assert_allclose(losses_in_parts, losses_whole, rtol=1e-5)
    assert difference(whole.weights, parts.weights) < 1e-5 and told == told_whole


def test_each_halving_is_told_once(training: Callable[..., Setup]) -> None:
    tight = Tight(4)
    setup = tight.into(training(batch_size=16, observers=[tight], epochs=2))
    setup.train()
    told = setup.job.observers.warnings
    assert tight.failures == 2 and len(told) == 2
    assert told[0].startswith(
        "memory ran out at step 1 with 16 rows of up to 12 tokens in a batch: the step is done again"
    )
    assert "with 8 in a batch; a step has the same rows as before" in told[0]
    assert "with 8 rows of up to" in told[1] and "with 4 in a batch" in told[1]
    rows = [row for row in setup.log() if row["event"] == "warned"]
    assert [(row["step"], row["message"]) for row in rows] == [(1, told[0]), (1, told[1])]


def test_a_failed_attempt_leaves_nothing(training: Callable[..., Setup]) -> None:
    """Dropout is on, on the CPU and in what draws from torch: the run is the one whose batches were small at once."""
    common = {"dropout": 0.2, "options": {"dropout": 0.1}, "epochs": 2, "keep_best": False}
    small = training("lora", at="a", batch_size=4, accumulate=4, **common)
    tight = Tight(4, in_backward=True)
    halved = tight.into(training("lora", at="b", batch_size=16, observers=[tight], **common))
    one, two = small.train(), halved.train()
    assert tight.failures == 2
    assert halved.digest == small.digest
    assert (one.forward_flops, one.backward_flops) == (two.forward_flops, two.backward_flops)
    assert one.curve == two.curve


# 48 rows in batches of 8: 6 steps per epoch.
RESUMED: dict[str, tuple[dict[str, Any], int]] = {
    "in_the_step_after": ({"method": "full"}, 9),
    "accumulate": ({"method": "full", "batch_size": 4, "accumulate": 2, "save_steps": 6}, 9),
    "lora": ({"method": "lora", "options": {"dropout": 0.1}, "save_steps": 4}, 11),
    "by_tokens": ({"method": "full", "batch_tokens": 80, "save_steps": 3}, 10),
    "cached": ({"method": "last_k", "options": {"k": 1}, "save_steps": 4}, 11),
}


@pytest.mark.parametrize("case", RESUMED)
def test_resumed_with_the_same_batches(
    case: str, training: Callable[..., Setup], monkeypatch: pytest.MonkeyPatch
) -> None:
    """Memory runs out at step 8; killed later and resumed where there is enough, it computes the same bits."""
    settings, killed_at = RESUMED[case]
    settings = {"epochs": 3, "dropout": 0.2, **settings}
    tight = Tight(2, after=7)
    whole = tight.into(training(at="a", observers=[tight], **settings))
    trained = whole.train()
    assert tight.failures > 0

    real = Training._step

    def killed(self: Training) -> None:
        if self.progress.step == killed_at:
            raise SystemExit
        real(self)

    monkeypatch.setattr(Training, "_step", killed)
    tight = Tight(2, after=7)
    with pytest.raises(SystemExit):
        tight.into(training(at="b", observers=[tight], **settings)).train()
    monkeypatch.undo()
    resumed = training(at="b", **settings)
    again = resumed.train()
    assert resumed.digest == whole.digest
    assert resumed.log() == whole.log()
    assert resumed.job.observers.warnings == whole.job.observers.warnings
    assert json.dumps([again.curve, again.forward_flops + again.elsewhere_flops, again.backward_flops]) == json.dumps(
        [trained.curve, trained.forward_flops + trained.elsewhere_flops, trained.backward_flops]
    )
    assert resumed.checkpoint() == whole.checkpoint()


def test_memory_that_runs_out_before_the_first_checkpoint_is_met_again(training: Callable[..., Setup]) -> None:
    settings = {"epochs": 2, "dropout": 0.2}
    tight = Tight(2)
    whole = tight.into(training(at="a", observers=[tight], **settings))
    whole.train()
    stop = Stop()
    with pytest.raises(Interrupted):
        tight = Tight(2)
        observers = [tight, At(3, lambda: setattr(stop, "requested", True))]
        tight.into(training(at="b", stop=stop, observers=observers, **settings)).train()
    resumed = training(at="b", **settings)
    resumed.train()
    assert resumed.digest == whole.digest and resumed.log() == whole.log()


@pytest.mark.parametrize("in_backward", [False, True])
def test_a_single_row_that_does_not_fit_is_an_error(in_backward: bool, training: Callable[..., Setup]) -> None:
    tight = Tight(0, after=3, in_backward=in_backward)
    setup = tight.into(training(batch_size=16, observers=[tight], epochs=2, save_steps=3))
    with pytest.raises(OutOfMemoryError, match=r"memory ran out at step 4 with a single row of \d+ tokens") as caught:
        setup.train()
    assert tight.failures == 5  # 16, 8, 4, 2, 1
    assert caught.value.exit_code == 1
    for advice in ("train.max_length", "lora", "a smaller model", "tunewise estimate"):
        assert advice in caught.value.fix
    assert setup.job.checkpoints.latest().name.startswith("step-00000003")


def test_an_update_that_does_not_fit_names_its_step(
    training: Callable[..., Setup], monkeypatch: pytest.MonkeyPatch
) -> None:
    """It is not done again: some weights may have been updated. The checkpoint before it is there."""
    calls: list[int] = []
    real = Optimizer.step

    def step(self: Optimizer, scaler: Any) -> None:
        calls.append(1)
        if len(calls) == 5:
            raise torch.OutOfMemoryError("CUDA out of memory. Tried to allocate 20 MiB")
        real(self, scaler)

    monkeypatch.setattr(Optimizer, "step", step)
    setup = training(epochs=1, save_steps=2)
    with pytest.raises(OutOfMemoryError, match="memory ran out while updating the weights at step 5") as caught:
        setup.train()
    assert caught.value.where == "CUDA out of memory. Tried to allocate 20 MiB" and "lora" in caught.value.fix
    assert setup.job.checkpoints.latest().name.startswith("step-00000004")


def test_an_error_of_another_kind_passes(training: Callable[..., Setup]) -> None:
    class Other(RuntimeError):
        pass

    tight = Tight(1, error=Other)
    tight._fail = lambda *_: (_ for _ in ()).throw(Other("mat1 and mat2 shapes cannot be multiplied"))
    with pytest.raises(Other):
        tight.into(training(observers=[tight])).train()


def test_measurements_before_a_plan_are_done_again(training: Callable[..., Setup]) -> None:
    """They take weights and steps of their own, which are undone each time."""
    common = {"method": "chosen_blocks", "options": {"k": 1}, "epochs": 1, "dropout": 0.0, "keep_best": False}
    plain = training(at="a", **common)
    one = plain.train()
    tight = Tight(4)
    halved = tight.into(training(at="b", observers=[tight], **common))
    two = halved.train()
    assert tight.failures == 1
    assert [plan["rules"] for plan in one.plans] == [plan["rules"] for plan in two.plans]
    assert difference(plain.weights, halved.weights) < 1e-4


def test_validation_goes_on_with_smaller_batches(training: Callable[..., Setup]) -> None:
    recorders = Recorder(), Recorder()
    common = {"epochs": 2, "dropout": 0.0, "cache": False}
    plain = training("head", at="a", observers=[recorders[0]], **common)
    one = plain.train()
    tight = Tight(4, training=False)
    setup = tight.into(training("head", at="b", observers=[recorders[1], tight], **common))
    two = setup.train()
    assert tight.failures == 3  # 18 rows, 9 and 5 once: the second validation begins with what fits
    assert setup.digest == plain.digest
    for before, after in zip(one.curve, two.curve, strict=True):
        assert after == pytest.approx(before, rel=1e-5)
    told = setup.job.observers.warnings
    assert len(told) == 3 and all("rows of up to" in message and "at a time" in message for message in told)


def test_a_resumed_run_validates_with_the_same_batches(training: Callable[..., Setup]) -> None:
    settings = {"epochs": 3, "dropout": 0.1, "cache": False}
    tight = Tight(4, training=False)
    whole = tight.into(training("full", at="a", observers=[tight], **settings))
    trained = whole.train()
    stop, tight = Stop(), Tight(4, training=False)
    observers = [tight, At(8, lambda: setattr(stop, "requested", True))]
    with pytest.raises(Interrupted):
        tight.into(training("full", at="b", stop=stop, observers=observers, **settings)).train()
    resumed = training("full", at="b", **settings)
    assert resumed.train().curve == trained.curve
    assert resumed.log() == whole.log()


@pytest.mark.parametrize("method", ["features", "last_k"])
def test_what_is_kept_is_made_with_smaller_batches(
    method: str, training: Callable[..., Setup], toy_data: Callable[..., DataBundle]
) -> None:
    """Vectors and states of the frozen part, which are read back in later epochs."""
    found = []
    options = {"classifier": "ridge"} if method == "features" else {}  # the others stop short of the exact solution
    for at, tight in (("a", None), ("b", Tight(4, training=False))):
        setup = training(method, at=at, options=options, dropout=0.0, epochs=2)
        if tight:
            blocks = setup.net.model.base_model.encoder.layer[0]
            blocks.register_forward_hook(
                lambda module, args, output, tight=tight: tight._check(module, args, (args[0],))
            )
            setup.job.context.store.clear()
        trained = setup.train()
        texts = setup.job.data.splits["test"].texts
        found.append(trained.outputs(texts, 64, lambda: None))
    assert tight.failures > 0
    np.testing.assert_allclose(found[1], found[0], rtol=1e-5, atol=1e-5)
    assert any("at a time" in message for message in setup.job.observers.warnings)


def test_a_model_that_was_loaded_predicts_in_the_memory_there_is(
    training: Callable[..., Setup], tmp_path: Path
) -> None:
    """What does not fit once is not tried again."""
    setup = training("full", epochs=1)
    trained = setup.train()
    save_model(trained, "transformers", tmp_path / "model", setup.job.data.schema, NO_DECISION, lambda size: "")
    texts = [text for (text,) in setup.job.data.splits["train"].texts]
    model = load(tmp_path / "model")
    whole, tight = model.scores(texts), Tight(5, training=False)
    model._net.model.base_model.register_forward_hook(tight._check)
    with pytest.warns(TunewiseWarning, match=r"memory ran out in a pass over \d+ rows"):
        np.testing.assert_allclose(model.scores(texts), whole, atol=1e-5)
    failed = tight.failures
    model.scores(texts)
    assert failed == tight.failures > 0
    tight.most = 0
    with pytest.raises(OutOfMemoryError, match="a single row"), pytest.warns(TunewiseWarning):
        model.scores(texts)
