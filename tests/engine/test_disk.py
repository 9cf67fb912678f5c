"""Room for the checkpoints of a training, told before its first step."""

from __future__ import annotations

import shutil
from collections import namedtuple
from collections.abc import Callable
from typing import Any

import pytest
from training_bench import At, Recorder, Setup

from tunewise.commit.room import bytes_in
from tunewise.engine.disk import checkpoint_bytes
from tunewise.engine.events import Step
from tunewise.engine.loop import Training
from tunewise.engine.stop import Stop
from tunewise.errors import Interrupted, StoreError

Usage = namedtuple("Usage", "total used free")


@pytest.fixture
def with_free(monkeypatch: pytest.MonkeyPatch) -> Callable[[int], None]:
    """`with_free(count)`: the disk has so many bytes left."""
    return lambda count: monkeypatch.setattr(shutil, "disk_usage", lambda path: Usage(10**12, 0, count))


@pytest.mark.parametrize("method", ["full", "lora", "gradual"])
@pytest.mark.parametrize("keep_best", [True, False])
def test_a_checkpoint_is_as_large_as_foretold(
    method: str, keep_best: bool, training: Callable[..., Setup], monkeypatch: pytest.MonkeyPatch
) -> None:
    told: list[int] = []
    real = Training._save

    def save(self: Training) -> None:
        told.append(checkpoint_bytes(self._trained(), keep_best))
        real(self)

    monkeypatch.setattr(Training, "_save", save)
    setup = training(method, keep_best=keep_best, epochs=3, save_steps=18)
    setup.train()
    size = bytes_in(setup.job.checkpoints.latest())
    assert told[-1] <= size < 1.05 * told[-1] + 60_000  # names of tensors, states of the random numbers, manifest


@pytest.mark.parametrize(("method", "keep_best"), [("full", True), ("full", False), ("lora", True)])
def test_too_little_room_is_told_before_the_first_step(
    method: str, keep_best: bool, training: Callable[..., Setup], with_free: Callable[[int], None]
) -> None:
    plain = training(method, at="a", epochs=1, keep_best=keep_best)
    one = (4 if keep_best else 3) * 4 * sum(parameter.numel() for parameter in trained_parameters(plain))
    recorder = Recorder()
    setup = training(method, at="b", epochs=1, keep_best=keep_best, observers=[recorder])
    with_free(3 * one - 1)
    with pytest.raises(StoreError) as caught:
        setup.train()
    assert caught.value.what == (
        f"the disk has too little room for 3 checkpoints of {one:,} bytes, then the model: {3 * one:,} bytes are "
        f"needed, {3 * one - 1:,} are free"
    )
    assert ("train.keep_best" in caught.value.fix) == keep_best and "trains fewer weights" in caught.value.fix
    assert recorder.of(Step) == []
    with_free(3 * one)
    training(method, at="c", epochs=1, keep_best=keep_best).train()


def trained_parameters(setup: Setup) -> list[Any]:
    """Those that the training of a setup has in its optimiser."""
    found: list[Any] = []
    real = Training._go_on

    def go_on(self: Training) -> None:
        found.extend(tensor.parameter for tensor in self.optimizer.tensors)
        real(self)

    with pytest.MonkeyPatch.context() as patch:
        patch.setattr(Training, "_go_on", go_on)
        setup.train()
    return found


def test_what_is_there_already_counts(training: Callable[..., Setup], with_free: Callable[[int], None]) -> None:
    """A run that goes on needs no room for the checkpoint it has."""
    stop, settings = Stop(), {"epochs": 2, "save_steps": 3, "keep_best": False}
    with pytest.raises(Interrupted):
        training(stop=stop, observers=[At(4, lambda: setattr(stop, "requested", True))], **settings).train()
    again = training(**settings)
    there = bytes_in(again.job.checkpoints.parent)
    one = there // 2
    with_free(3 * one - there)
    again.train()


def test_the_model_needs_room_beside_the_checkpoints(
    training: Callable[..., Setup], with_free: Callable[[int], None]
) -> None:
    setup = training("head", epochs=1)
    setup.job.handed_over = 10**9
    with_free(10**9)
    with pytest.raises(StoreError, match="too little room for 3 checkpoints"):
        setup.train()
