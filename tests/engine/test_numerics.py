"""NaN and infinity: stopped before the update, traced to their rows, skipped only where the recipe allows it."""

from __future__ import annotations

from collections.abc import Callable
from typing import Any

import numpy as np
import pytest
import torch
from safetensors.torch import load_file
from torch import nn
from training_bench import At, Recorder, Setup

from tunewise.engine.course import Course
from tunewise.engine.events import Step, Warned
from tunewise.engine.finite import check_finite, not_finite
from tunewise.engine.loop import Training
from tunewise.engine.stop import Stop
from tunewise.errors import Interrupted, NonFiniteError
from tunewise.models.blocks import named_tensors
from tunewise.types import DataBundle, Split


@pytest.fixture
def odd_rows(toy_data: Callable[..., DataBundle]) -> Callable[..., DataBundle]:
    """`odd_rows(places)`: the toy data with a long row at each of these places of train; others have 16 words less."""

    def make(*places: int) -> DataBundle:
        whole = toy_data()
        train = whole.splits["train"]
        texts = tuple(
            ((text + " box" * 30,) if place in places else (text,)) for place, (text,) in enumerate(train.texts)
        )
        split = Split("train", texts, train.targets, train.rows, train.source)
        return DataBundle({**whole.splits, "train": split}, whole.schema, (), f"odd-{places}")

    return make


def poison(setup: Setup, in_gradient: bool = False) -> Setup:
    """What the encoder gives for long rows, or its gradient, is not finite."""

    def spoil(module: nn.Module, args: Any, kwargs: dict[str, Any], output: Any) -> None:
        hidden = output[0]
        if not module.training:
            return
        long_B = kwargs["attention_mask"].sum(1) > 30
        spoilt = torch.where(long_B[:, None, None], float("nan"), 0.0)
        if not in_gradient:
            output.last_hidden_state = hidden + spoilt
            output.pooler_output = output.pooler_output + spoilt[:, 0]
        elif hidden.requires_grad:
            output.pooler_output.register_hook(lambda gradient: gradient + spoilt[:, 0])

    setup.net.model.base_model.register_forward_hook(spoil, with_kwargs=True)
    return setup


def steps_of(setup: Setup, *places: int) -> list[int]:
    """The optimiser steps, from 1, whose rows have one of these places."""
    tokens = [len(setup.net.tokenizer(*texts).input_ids) for texts in setup.job.data.splits["train"].texts]
    course = Course(np.array(tokens), setup.job.config, setup.job.seed)
    return [step + 1 for step in range(course.total_steps) if set(places) & set(course.rows(step).tolist())]


@pytest.mark.parametrize("in_gradient", [False, True])
@pytest.mark.parametrize(
    ("places", "settings"),
    [((17,), {}), ((3, 40), {"batch_size": 16}), ((30,), {"batch_size": 2, "accumulate": 8})],
)
def test_the_rows_at_fault_are_named_first(
    in_gradient: bool,
    places: tuple[int, ...],
    settings: dict[str, int],
    training: Callable[..., Setup],
    odd_rows: Callable[..., DataBundle],
) -> None:
    setup = poison(training("full", data=odd_rows(*places), epochs=1, dropout=0.1, **settings), in_gradient)
    before = setup.weights
    what = "gradient's norm" if in_gradient else "loss"
    with pytest.raises(NonFiniteError, match=f"the {what} of step 1 is nan; the weights were not updated") as caught:
        setup.train()
    rows = setup.job.data.splits["train"].rows
    first, _, others = caught.value.where.partition("; other rows of the step: ")
    named = ", ".join(str(rows[place]) for place in sorted(places))
    found = first.replace("rows ", "").replace("row ", "").removesuffix(" of toy.csv").split(", ")
    assert ", ".join(sorted(found, key=int)) == named and ("rows" in first) == (len(places) > 1)
    size = settings.get("batch_size", 8) * settings.get("accumulate", 1)
    assert len(others.split(", ")) == size - len(places)
    assert "extreme targets" in caught.value.fix and "train.skip_non_finite" in caught.value.fix
    after = setup.weights
    assert all(torch.equal(before[name], after[name]) for name in before)


def test_what_is_logged_is_the_true_value(training: Callable[..., Setup], odd_rows: Callable[..., DataBundle]) -> None:
    """A skipped step leaves the weights alone and its row in the log; the curve is the mean over the others."""
    recorder, weights = Recorder(), []
    setup = training("full", data=odd_rows(5), epochs=2, dropout=0.0, skip_non_finite=2, observers=[recorder])
    keep = At(0, lambda: None)
    keep.on_step = lambda event: weights.append(
        {n: t.detach().clone() for n, t in named_tensors(setup.net.model).items()}
    )
    setup.job.observers._watching.append(keep)
    trained = poison(setup).train()
    bad = steps_of(setup, 5)
    assert bad[0] == 1 and len(bad) == 2
    steps = recorder.of(Step)
    assert [step.step for step in steps] == list(range(1, 13))
    assert [step.step for step in steps if np.isnan(step.loss)] == bad
    rows = [row for row in setup.log() if row["event"] == "step"]
    assert [row["step"] for row in rows if np.isnan(row["loss"]) and np.isnan(row["grad_norm"])] == bad
    for number in bad[1:]:
        assert all(torch.equal(weights[number - 1][name], weights[number - 2][name]) for name in weights[0])
    assert not torch.equal(weights[1]["classifier.weight"], weights[0]["classifier.weight"])
    learned = [step.loss for step in steps[:6] if np.isfinite(step.loss)]
    assert trained.curve[0]["train_loss"] == pytest.approx(np.mean(learned), rel=1e-12)
    told = [event for event in recorder.of(Warned) if "skipped" in event.message]
    assert [event.step for event in told] == bad
    assert told[0].message.startswith(
        "the loss of step 1 is nan: it was skipped (1 of at most 2); row 6 of toy.csv; other rows of the step: "
    )
    assert [event.message for event in told] == setup.job.observers.warnings


def test_one_more_than_allowed_stops(training: Callable[..., Setup], odd_rows: Callable[..., DataBundle]) -> None:
    setup = poison(training("full", data=odd_rows(5), epochs=3, skip_non_finite=1))
    number = steps_of(setup, 5)[1]
    with pytest.raises(NonFiniteError, match=f"the loss of step {number} is nan, after 1 that were skipped"):
        setup.train()


@pytest.mark.parametrize("settings", [{"method": "full"}, {"method": "lora", "options": {"dropout": 0.1}}])
def test_resumed_after_a_skipped_step(
    settings: dict[str, Any], training: Callable[..., Setup], odd_rows: Callable[..., DataBundle]
) -> None:
    """The count goes on, and so do the random numbers: looking for the rows at fault draws none."""
    common = {"data": odd_rows(5), "epochs": 3, "dropout": 0.2, "skip_non_finite": 3, "save_steps": 3, **settings}
    whole = poison(training(at="a", **common))
    trained = whole.train()
    stop = Stop()
    with pytest.raises(Interrupted):
        interrupt = At(2, lambda: setattr(stop, "requested", True))
        poison(training(at="b", stop=stop, observers=[interrupt], **common)).train()
    resumed = poison(training(at="b", **common))
    again = resumed.train()
    assert resumed.digest == whole.digest
    assert again.curve == trained.curve
    assert str(resumed.log()) == str(whole.log())
    assert resumed.checkpoint() == whole.checkpoint()
    assert sum("skipped" in warning for warning in resumed.job.observers.warnings) == 3


def test_fp16_skips_after_its_scaler(training: Callable[..., Setup]) -> None:
    """Of the 16 steps that halve its scale from 65536 to 1 none counts; of the next ones so many as are allowed."""
    settings = {"precision": "fp16", "epochs": 4, "keep_best": False, "cache": False, "skip_non_finite": 3}
    setup = training("head", **settings)
    setup.net.model.classifier.register_full_backward_hook(
        lambda module, into, out: tuple(part * float("inf") for part in into)
    )
    before = setup.weights
    with pytest.raises(NonFiniteError, match=r"the gradient's norm of step 20 is .*, after 3 that were skipped"):
        setup.train()
    assert all(torch.equal(before[name], after) for name, after in setup.weights.items())


def spoil_weights(setup: Setup) -> None:
    with torch.no_grad():
        setup.net.model.classifier.weight[0, 0] = float("nan")


@pytest.mark.parametrize("step", [4, 6])
def test_weights_that_are_not_finite_are_neither_validated_nor_saved(step: int, training: Callable[..., Setup]) -> None:
    """After the last step of an epoch, before its validation; and after another one, before a checkpoint."""
    setup = training("full", epochs=2, save_steps=2, skip_non_finite=9)
    setup.job.observers._watching.append(At(step, lambda: spoil_weights(setup)))
    with pytest.raises(NonFiniteError, match=f"the weights hold NaN or infinity after step {step}: classifier.weight"):
        setup.train()
    assert not [row for row in setup.log() if row["event"] == "evaluated"]
    folder = setup.job.checkpoints.latest()
    assert folder.name.startswith(f"step-{step - 2:08d}")
    for file in folder.parent.glob("step-*/*.safetensors"):
        assert all(torch.isfinite(tensor.float()).all() for tensor in load_file(file).values())


def test_weights_that_are_not_finite_are_no_step_to_skip(training: Callable[..., Setup]) -> None:
    setup = training("full", epochs=2, skip_non_finite=9)
    setup.job.observers._watching.append(At(2, lambda: spoil_weights(setup)))
    with pytest.raises(NonFiniteError, match=r"the weights hold NaN or infinity after step 2: classifier\.weight"):
        setup.train()


def test_moments_that_are_not_finite_are_not_saved(
    training: Callable[..., Setup], monkeypatch: pytest.MonkeyPatch
) -> None:
    """The squares of gradients that are large but finite."""
    setup = training("full", epochs=1, max_grad_norm=0, save_steps=2)
    real = Training._save

    def save(self: Training) -> None:
        next(iter(self.optimizer.adamw.state.values()))["exp_avg_sq"].fill_(float("inf"))
        real(self)

    monkeypatch.setattr(Training, "_save", save)
    with pytest.raises(NonFiniteError, match=r"optimiser's moments hold NaN or infinity after step 2: .*exp_avg_sq"):
        setup.train()
    assert setup.job.checkpoints.latest() is None


def test_large_but_finite_weights_pass() -> None:
    """The square of 1e30 is infinite in fp32."""
    check_finite({"a": torch.full((3,), 1e30), "b": torch.ones(2), "steps": torch.tensor(7)}, 1)
    with pytest.raises(NonFiniteError, match="after step 7: b;"):
        check_finite({"a": torch.full((3,), 1e30), "b": torch.tensor([1.0, float("inf")])}, 7)


def test_halving_finds_the_rows_in_few_looks() -> None:
    looks: list[int] = []

    def is_finite(rows: np.ndarray) -> bool:
        looks.append(len(rows))
        return not {70, 3} & set(rows.tolist())

    assert not_finite(np.arange(128), is_finite, 20) == [3, 70]
    assert len(looks) <= 2 * 2 * 7 + 1
    assert not_finite(np.arange(8), lambda rows: False, 3) == [0, 1, 2]
    assert not_finite(np.arange(8), lambda rows: len(rows) < 8, 20) == []  # only all together
