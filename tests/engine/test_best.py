"""Which weights are handed over, when training stops early, and the warning of over-fitting."""

from __future__ import annotations

from collections.abc import Callable, Iterator
from typing import Any

import numpy as np
import pytest
import torch
from training_bench import Recorder, Setup

from tunewise.engine import loop
from tunewise.engine.events import Evaluated, Planned, Step
from tunewise.engine.loop import Training
from tunewise.models.blocks import named_tensors


@pytest.fixture
def validated(monkeypatch: pytest.MonkeyPatch) -> Callable[..., list[dict[str, torch.Tensor]]]:
    """`validated(values, losses=None)`: validations give these values of the metric; returns the weights at each."""

    def script(values: list[float], losses: list[float] | None = None) -> list[dict[str, torch.Tensor]]:
        told: Iterator[float] = iter(values)
        lost: Iterator[float] = iter(losses or [1.0] * len(values))
        weights: list[dict[str, torch.Tensor]] = []
        real = Training.run

        def run(self: Training) -> Any:
            def validate() -> tuple[float, float, dict[str, float]]:
                weights.append({name: p.detach().clone() for name, p in named_tensors(self.net.model).items()})
                return next(lost), next(told), {"f1_macro": 0.0}

            self.validate = validate
            return real(self)

        monkeypatch.setattr(Training, "run", run)
        monkeypatch.setattr(loop, "only_used_rows", lambda *_: _Nothing())
        return weights

    return script


class _Nothing:
    def __enter__(self) -> None: ...

    def __exit__(self, *_: object) -> None: ...


def same(setup: Setup, weights: dict[str, torch.Tensor]) -> bool:
    return all(torch.equal(tensor, weights[name]) for name, tensor in setup.weights.items())


@pytest.mark.parametrize(
    ("values", "best"),
    [
        ([0.1, 0.5, 0.3], 1),
        ([0.5, 0.5, 0.5], 0),
        ([0.1, 0.2, 0.3], 2),
        ([float("nan"), 0.2, 0.1], 1),
        ([0.2, float("nan"), 0.1], 0),
        ([float("nan"), float("nan"), float("nan")], 2),
        ([float("inf"), 0.2, 0.1], 1),
    ],
)
def test_the_first_of_the_best_is_kept(
    values: list[float], best: int, training: Callable[..., Setup], validated: Callable[..., Any]
) -> None:
    weights = validated(values)
    setup = training("full", epochs=3)
    trained = setup.train()
    assert [entry["step"] for entry in trained.curve] == [6, 12, 18]
    assert same(setup, weights[best])


def test_a_validation_that_is_no_number_is_told_and_counts_as_no_gain(
    training: Callable[..., Setup], validated: Callable[..., Any]
) -> None:
    """The best before it stays, also where only the loss is no number."""
    nan = float("nan")
    weights = validated([0.2, 0.9, nan, 0.1], [1.0, nan, 1.0, 1.0])
    setup = training("full", epochs=4, early_stopping=2)
    trained = setup.train()
    assert same(setup, weights[0])
    assert [entry["step"] for entry in trained.curve] == [6, 12, 18]  # stopped after two without gain
    np.testing.assert_equal([entry["validation_loss"] for entry in trained.curve], [1.0, nan, 1.0])
    np.testing.assert_equal([entry["metric"] for entry in trained.curve], [0.2, 0.9, nan])
    assert setup.job.observers.warnings == [
        "validation at step 12 has loss nan and metric 0.9: it is not the best",
        "validation at step 18 has loss 1 and metric nan: it is not the best",
    ]


def test_smaller_is_better_for_a_loss(training: Callable[..., Setup], validated: Callable[..., Any]) -> None:
    weights = validated([0.5, 0.1, 0.3])
    setup = training("full", epochs=3, metric="log_loss")
    setup.train()
    assert same(setup, weights[1])


def test_without_keep_best_the_last_weights_stay(training: Callable[..., Setup], validated: Callable[..., Any]) -> None:
    weights = validated([0.5, 0.1, 0.3])
    setup = training("full", epochs=3, keep_best=False)
    setup.train()
    assert same(setup, weights[2])
    assert not same(setup, weights[0])


def test_the_best_of_gradual_has_the_untouched_lower_blocks(
    training: Callable[..., Setup], validated: Callable[..., Any]
) -> None:
    """The best is found while only the head trains; what trains later must go back to where it was then."""
    weights = validated([0.9, 0.1, 0.2, 0.3, 0.4, 0.5])
    setup = training("gradual", epochs=3, evaluate_every=3)
    setup.train()
    lowest = "bert.encoder.layer.0.intermediate.dense.weight"
    assert not torch.equal(weights[0][lowest], weights[5][lowest])
    assert same(setup, weights[0])


@pytest.mark.parametrize(
    ("values", "patience", "stopped_after"),
    [
        ([0.5, 0.4, 0.3, 0.9], 2, 3),
        ([0.5, 0.5, 0.6, 0.6, 0.6], 2, 5),
        ([0.1, 0.2, 0.3, 0.4, 0.5, 0.6], 1, 6),
        ([0.5, 0.4], 1, 2),
    ],
)
def test_early_stopping(
    values: list[float],
    patience: int,
    stopped_after: int,
    training: Callable[..., Setup],
    validated: Callable[..., Any],
) -> None:
    validated(values)
    setup = training("full", epochs=3, evaluate_every=3, early_stopping=patience)
    trained = setup.train()
    assert [entry["step"] for entry in trained.curve] == [3 * number for number in range(1, stopped_after + 1)]


def scripted_losses(monkeypatch: pytest.MonkeyPatch, per_validation: list[float]) -> None:
    """The training loss that each validation sees."""
    told = iter(per_validation)
    real = Training._validate

    def validate(self: Training) -> None:
        self.progress.loss_sum, self.progress.loss_steps = next(told), 1
        real(self)

    monkeypatch.setattr(Training, "_validate", validate)


@pytest.mark.parametrize(
    ("train", "validation", "warned_at"),
    [
        ([3, 2, 1], [1, 2, 3], [18]),
        ([3, 2, 1], [3, 2, 3], []),
        ([1, 2, 3], [1, 2, 3], []),
        ([3, 2, 1], [1, 2, 2], []),
        ([5, 4, 3, 2, 1], [1, 2, 3, 4, 5], [18]),
        ([5, 4, 3, 2, 3, 2, 1], [4, 2, 3, 4, 4, 5, 6], [24]),
    ],
)
def test_overfitting_is_told(
    train: list[float],
    validation: list[float],
    warned_at: list[int],
    training: Callable[..., Setup],
    validated: Callable[..., Any],
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    validated([place / 10 for place in range(len(validation))], validation)
    scripted_losses(monkeypatch, train)
    setup = training("full", epochs=len(train))
    setup.train()
    found = [warning for warning in setup.job.observers.warnings if "over-fitting" in warning]
    assert found == [
        f"training and validation part at step {step}: over-fitting (the best weights are kept)" for step in warned_at
    ]


def test_curve_holds_the_mean_training_loss_since_the_last_validation(training: Callable[..., Setup]) -> None:
    recorder = Recorder()
    setup = training("full", epochs=2, evaluate_every=4, observers=[recorder])
    trained = setup.train()
    losses = [event.loss for event in recorder.of(Step)]
    assert [entry["step"] for entry in trained.curve] == [4, 8, 12]
    for entry, start in zip(trained.curve, (0, 4, 8), strict=True):
        assert entry["train_loss"] == pytest.approx(np.mean(losses[start : start + 4]), rel=1e-12)
        assert entry["epoch"] == pytest.approx(entry["step"] / 6)
    told = recorder.of(Evaluated)
    assert [event.scores["f1_macro"] for event in told] == [entry["metric"] for entry in trained.curve]
    assert [event.loss for event in told] == [entry["validation_loss"] for entry in trained.curve]


def test_validation_sees_the_weights_of_its_step(training: Callable[..., Setup]) -> None:
    """The last validation gives what the trained model gives afterwards."""
    from tunewise.data.tokenise import tokenise
    from tunewise.evaluate.predict import predict_logits

    setup = training("full", epochs=8, learning_rate=3e-3, keep_best=False, dropout=0.0)
    trained = setup.train()
    split = setup.job.data.splits["validation"]
    tokens = tokenise(split.texts, setup.net.tokenizer, setup.net.max_length)
    logits = torch.from_numpy(predict_logits(setup.net.model, tokens, 64))
    loss = torch.nn.functional.cross_entropy(logits, torch.from_numpy(split.targets))
    assert trained.curve[-1]["validation_loss"] == pytest.approx(float(loss), rel=1e-6)
    assert trained.curve[0]["metric"] + 0.2 < trained.curve[-1]["metric"]  # it has learned


def test_plans_of_gradual_are_told(training: Callable[..., Setup]) -> None:
    recorder = Recorder()
    setup = training("gradual", epochs=3, observers=[recorder])
    trained = setup.train()
    told = recorder.of(Planned)
    assert [(event.step, event.phase) for event in told] == [(0, 0), (3, 1), (6, 2), (9, 3)]
    whole = sum(tensor.size for tensor in setup.net.map.tensors)
    assert [entry["trainable_parameters"] for entry in trained.plans] == [event.trainable_parameters for event in told]
    assert trained.trainable_parameters == told[-1].trainable_parameters == whole == trained.total_parameters
