"""A training that was interrupted and resumed is, bit by bit, the one that never was."""

from __future__ import annotations

import json
from collections.abc import Callable
from importlib.util import find_spec
from typing import Any

import pytest
import torch
from training_bench import At, Setup, with_counts

from tunewise.engine.events import Warned
from tunewise.engine.loop import Training
from tunewise.engine.stop import Stop
from tunewise.engine.train import Trained
from tunewise.errors import CorruptError, Interrupted
from tunewise.methods import METHODS

# 48 rows in batches of 8: 6 steps per epoch. Dropout is on everywhere, so that the state of the random numbers counts.
COMMON: dict[str, Any] = {"epochs": 3, "dropout": 0.2}
CASES = {
    "full": ({"method": "full", "save_steps": 3}, [7]),
    "twice": ({"method": "full", "save_steps": 5, "evaluate_every": 4}, [4, 11]),
    "without_save_steps": ({"method": "full"}, [8]),
    "at_the_last_step": ({"method": "full", "save_steps": 6}, [18]),
    "lora": ({"method": "lora", "options": {"dropout": 0.1}, "save_steps": 3}, [8]),
    "adapter": ({"method": "adapter", "save_steps": 6}, [5]),
    "parallel_adapter": ({"method": "adapter", "options": {"placement": "parallel"}, "save_steps": 6}, [5]),
    "mlp_head": ({"method": "mlp_head", "options": {"unfreeze": 1}, "save_steps": 6}, [5]),
    "inserted_blocks": ({"method": "inserted_blocks", "family": "gpt2", "save_steps": 6}, [5]),
    "ladder": ({"method": "ladder", "save_steps": 6}, [5]),
    "prompt": ({"method": "p_tuning", "options": {"tokens": 4}, "save_steps": 6}, [7]),
    "prefix": ({"method": "prefix_tuning", "options": {"tokens": 4}, "family": "gpt2", "save_steps": 6}, [7]),
    "head": ({"method": "head", "save_steps": 6}, [10]),
    "scratch": ({"method": "scratch", "save_steps": 6}, [3]),
    "gradual_inside_a_phase": ({"method": "gradual", "save_steps": 6}, [5]),
    "gradual_at_a_border": ({"method": "gradual", "save_steps": 6}, [3, 6, 9]),
    "lp_ft_at_the_border": ({"method": "lp_ft", "save_steps": 5}, [5, 7]),
    "chain_thaw_in_a_layer": ({"method": "chain_thaw", "save_steps": 6}, [3, 8]),
    "ulmfit": ({"method": "ulmfit", "save_steps": 6}, [5]),
    "measured_again": ({"method": "adaptive", "options": {"rho": 1.0, "interval": 1}, "save_steps": 6}, [4, 12]),
    "measured_before_the_first_step": ({"method": "chosen_blocks", "options": {"k": 1}, "save_steps": 6}, [1, 5]),
    "masks": ({"method": "fisher_norms", "save_steps": 6, "weight_decay": 0.1}, [8]),
    "schedule": ({"method": "full", "schedule": "slanted_triangular", "save_steps": 6}, [1, 7]),
    "accumulate": ({"method": "full", "batch_size": 2, "accumulate": 4, "save_steps": 6}, [7]),
    "batches_by_tokens": ({"method": "full", "batch_tokens": 60, "accumulate": 2, "save_steps": 3}, [4, 7]),
    "windows": ({"method": "full", "cut": "chunks", "max_length": 6, "save_steps": 6}, [4, 7]),
    "windows_of_a_frozen_part": (
        {"method": "last_k", "options": {"k": 1}, "cut": "chunks", "max_length": 6, "chunk_stride": 1}
        | {"batch_tokens": 60, "save_steps": 4},
        [5],
    ),
    "balanced_batches": (
        {"method": "full", "balanced_batches": True, "counts": (16, 6, 3), "accumulate": 2, "save_steps": 2},
        [2, 5],
    ),
    "balanced_batches_of_focal_loss": (
        {"method": "last_k", "options": {"k": 1}, "balanced_batches": True, "counts": (3, 16, 2)}
        | {"objective": {"focal_gamma": 2.0}, "save_steps": 6},
        [7],
    ),
    "early_stopping": (
        {"method": "full", "learning_rate": 1e-7, "early_stopping": 2, "evaluate_every": 3, "save_steps": 3},
        [7],
    ),
    "max_steps": ({"method": "full", "epochs": None, "max_steps": 10, "save_steps": 5}, [3]),
    "bf16": ({"method": "full", "precision": "bf16", "save_steps": 6}, [7]),
    "fp16": ({"method": "full", "precision": "fp16", "save_steps": 6}, [7]),
    "multilabel": ({"method": "last_k", "options": {"k": 1}, "task": "multilabel", "save_steps": 6}, [7]),
    "regression": ({"method": "full", "family": "gpt2", "task": "regression", "save_steps": 6}, [7]),
}


def interrupted(make: Callable[..., Setup], steps: list[int]) -> tuple[Setup, Trained]:
    """Trains, stopped after each of the steps and resumed."""
    for step in steps:
        stop = Stop()
        with pytest.raises(Interrupted):
            make(at="b", stop=stop, observers=[At(step, lambda stop=stop: setattr(stop, "requested", True))]).train()
    setup = make(at="b")
    return setup, setup.train()


def resumed_exactly(make: Callable[..., Setup], steps: list[int], **settings: Any) -> tuple[Setup, Trained, Trained]:
    """Trains with these settings at once, and interrupted after each of the steps: everything must be the same. The
    uninterrupted one, what it trained, and what the other did."""
    whole = make(at="a", **settings)
    trained = whole.train()
    resumed, again = interrupted(lambda **more: make(**{**settings, **more}), steps)
    assert resumed.digest == whole.digest
    assert told(again) == told(trained)
    assert resumed.log() == whole.log()
    assert resumed.job.observers.warnings == whole.job.observers.warnings
    if "save_steps" in settings:
        assert resumed.checkpoint() == whole.checkpoint()
        assert any(name.startswith("optimizer/") for name in whole.checkpoint())
    return whole, trained, again


def told(trained: Trained) -> str:
    """What the training says of itself, but for seconds."""
    counted = (
        trained.curve,
        trained.plans,
        trained.forward_flops + trained.elsewhere_flops,
        trained.backward_flops,
        trained.trainable_parameters,
    )
    return json.dumps(counted)


@pytest.mark.parametrize("case", CASES)
def test_resumed_is_uninterrupted(case: str, training: Callable[..., Setup], toy_data: Callable[..., Any]) -> None:
    settings, steps = CASES[case]
    settings = {**COMMON, **settings}
    data = toy_data(settings.pop("task", "classification"))
    data = with_counts(data, *settings.pop("counts", ()))
    whole, trained, again = resumed_exactly(training, steps, data=data, **settings)
    assert len([row for row in whole.log() if row["event"] == "step"]) == trained.curve[-1]["step"]
    if case == "early_stopping":
        assert trained.curve[-1]["step"] < 18
    assert again.earlier_seconds > 0


DESCENDING = [
    name
    for name, method in METHODS.items()
    if method.descends and "text" in method.modalities and all(map(find_spec, method.packages))
]


@pytest.mark.parametrize("method", DESCENDING)
def test_every_method_goes_on_exactly(method: str, training: Callable[..., Setup]) -> None:
    resumed_exactly(training, [3], method=method, save_steps=2, max_steps=6, dropout=0.2)


def test_killed_between_saves(training: Callable[..., Setup], monkeypatch: pytest.MonkeyPatch) -> None:
    """What came after the checkpoint is done again, and stands in the log once."""
    settings = {"epochs": 3, "dropout": 0.2, "save_steps": 4, "evaluate_every": 2}
    whole = training(at="a", **settings)
    whole.train()
    real = Training._step

    def killed(self: Training) -> None:
        if self.progress.step == 11:
            raise SystemExit
        real(self)

    monkeypatch.setattr(Training, "_step", killed)
    with pytest.raises(SystemExit):
        training(at="b", **settings).train()
    monkeypatch.undo()
    resumed = training(at="b", **settings)
    resumed.train()
    assert resumed.digest == whole.digest
    assert resumed.log() == whole.log()
    assert resumed.checkpoint() == whole.checkpoint()


def test_warnings_of_both_sessions_are_kept(training: Callable[..., Setup], monkeypatch: pytest.MonkeyPatch) -> None:
    def warn(self: Training) -> None:
        self.observers.emit(Warned(f"at step {self.progress.step}", self.progress.step))

    monkeypatch.setattr(Training, "_warn_of_overfitting", warn)
    settings = {"epochs": 3, "max_length": 7}
    whole = training(at="a", **settings)
    whole.train()
    resumed, _ = interrupted(lambda **more: training(**{**settings, **more}), [8])
    kept = resumed.job.observers.warnings
    assert len(kept) == 5 and kept[2:] == ["at step 6", "at step 12", "at step 18"]
    assert kept == whole.job.observers.warnings
    assert resumed.log() == whole.log()


def damaged(setup: Setup, file: str, folders: int) -> None:
    newest = sorted(setup.job.checkpoints.parent.glob("step-*"))[-folders:]
    for folder in newest:
        raw = bytearray((folder / file).read_bytes())
        raw[-5] ^= 1
        (folder / file).write_bytes(raw)


@pytest.mark.parametrize("file", ["weights.safetensors", "optimizer.safetensors", "random.safetensors", "state.json"])
def test_a_damaged_checkpoint_gives_way_to_the_one_before(file: str, training: Callable[..., Setup]) -> None:
    settings = {"epochs": 3, "dropout": 0.2, "save_steps": 3}
    whole = training(at="a", **settings)
    whole.train()
    stop = Stop()
    first = training(at="b", stop=stop, observers=[At(9, lambda: setattr(stop, "requested", True))], **settings)
    with pytest.raises(Interrupted):
        first.train()
    damaged(first, file, 1)
    resumed = training(at="b", **settings)
    resumed.train()
    warnings = resumed.job.observers.warnings
    assert any(file in warning and "cannot be used" in warning for warning in warnings)
    assert any("falling back to checkpoint step-00000006" in warning for warning in warnings)
    assert resumed.digest == whole.digest
    assert resumed.checkpoint() == whole.checkpoint()
    plain = [row for row in resumed.log() if row["event"] != "warned"]
    assert plain == whole.log()


def test_no_sound_checkpoint_is_an_error_and_no_new_start(training: Callable[..., Setup]) -> None:
    settings = {"epochs": 3, "save_steps": 3}
    stop = Stop()
    first = training(at="b", stop=stop, observers=[At(9, lambda: setattr(stop, "requested", True))], **settings)
    with pytest.raises(Interrupted):
        first.train()
    damaged(first, "weights.safetensors", 2)
    with pytest.raises(CorruptError, match="none of them can be used"):
        training(at="b", **settings).train()


def test_same_seed_same_weights_other_seed_others(training: Callable[..., Setup]) -> None:
    digests = []
    for at, seed in (("a", 3), ("b", 3), ("c", 4)):
        setup = training("full", at=at, seed=seed, dropout=0.1, epochs=1)
        torch.rand(7)  # what was drawn before does not matter
        setup.train()
        digests.append(setup.digest)
    assert digests[0] == digests[1] != digests[2]
