"""Trainings on balanced rows, with balanced batches, and with focal loss."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import replace
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import torch
from torch.nn import functional
from training_bench import Recorder, Setup, with_counts

from tunewise.commit import default_cache
from tunewise.engine.events import Step
from tunewise.engine.train import told_balanced
from tunewise.types import DataBundle

COUNTS = (16, 6, 3)
MODES = {"epochs": 3, "dropout": 0.0, "keep_best": False}


@pytest.fixture
def uneven(toy_data: Callable[..., DataBundle]) -> DataBundle:
    return with_counts(toy_data(), *COUNTS)


@pytest.fixture
def fresh_cache(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("TUNEWISE_CACHE", str(tmp_path / "cache"))


def repeated(data: DataBundle, times: int) -> DataBundle:
    """Every training row so many times, one behind the other, as over-sampling has them."""
    train = data.splits["train"]
    places = np.repeat(np.arange(len(train)), times)
    texts = tuple(train.texts[place] for place in places)
    more = replace(train, texts=texts, targets=train.targets[places], rows=train.rows[places])
    return replace(data, splits={**data.splits, "train": more})


def test_the_rows_of_a_step_are_balanced_in_the_training(
    uneven: DataBundle, training: Callable[..., Setup], monkeypatch: pytest.MonkeyPatch
) -> None:
    """What the objective is given, step by step."""
    recorder = Recorder()
    setup = training(
        "head", data=uneven, balanced_batches=True, batch_size=6, epochs=2, cache=False, observers=[recorder]
    )
    seen, real = [], setup.job.objective.loss

    def loss(self: Any, logits_BC: torch.Tensor, targets: torch.Tensor) -> Any:
        if logits_BC.requires_grad:
            seen.append(np.bincount(targets.numpy(), minlength=3).tolist())
        return real(logits_BC, targets)

    monkeypatch.setattr(type(setup.job.objective), "loss", loss)
    trained = setup.train()
    assert seen == [[2, 2, 2]] * 16  # 48 rows an epoch
    assert [event.step for event in recorder.of(Step)] == list(range(1, 17))
    assert [point["step"] for point in trained.curve] == [8, 16]
    assert setup.job.observers.warnings == [
        "balanced batches: an epoch reads 48 rows, 16 of each class; 23 of them are rows of smaller classes that are "
        "read again"
    ]


def test_what_is_told_counts_only_classes_with_rows() -> None:
    assert told_balanced(np.array([0, 0, 0, 4])).startswith(
        "balanced batches: an epoch reads 6 rows, 3 of each class; 2 "
    )


@pytest.mark.parametrize("family", ["bert", "gpt2"])
def test_with_the_cache_balanced_batches_train_the_same(
    family: str, uneven: DataBundle, training: Callable[..., Setup], fresh_cache: None
) -> None:
    settings = {"data": uneven, "family": family, "balanced_batches": True, **MODES}
    losses = []
    for cache in (False, True):
        recorder = Recorder()
        training("head", at=f"{cache}", cache=cache, observers=[recorder], **settings).train()
        losses.append([event.loss for event in recorder.of(Step)])
        assert bool(default_cache().entries()) == cache
    np.testing.assert_allclose(*losses, rtol=1e-4)


def test_one_epoch_that_reads_rows_twice_is_worth_keeping(
    uneven: DataBundle, training: Callable[..., Setup], fresh_cache: None
) -> None:
    """25 rows, 48 read: filling the cache takes as long as one pass, and spares two."""
    training("head", at="a", data=uneven, **{**MODES, "epochs": 1}).train()
    assert default_cache().entries() == []
    training("head", at="b", data=uneven, balanced_batches=True, **{**MODES, "epochs": 1}).train()
    assert default_cache().entries() != []


@pytest.mark.parametrize("method", ["head", "features"])
def test_with_the_cache_repeated_rows_train_the_same(
    method: str, uneven: DataBundle, training: Callable[..., Setup], fresh_cache: None
) -> None:
    data, scores = repeated(uneven, 3), []
    for cache in (False, True, True):
        setup = training(method, at=f"{len(scores)}", data=data, cache=cache, **MODES)
        trained = setup.train()
        scores.append(trained.outputs(data.splits["test"].texts, 8, lambda: None))
        assert bool(default_cache().entries()) == cache
    np.testing.assert_allclose(scores[1], scores[0], rtol=1e-3, atol=1e-4)
    assert np.array_equal(scores[1], scores[2])


def test_tokens_of_repeated_rows_are_kept_and_read(
    uneven: DataBundle, training: Callable[..., Setup], fresh_cache: None, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr("tunewise.engine.encode.KEPT_LETTERS", 1)
    digests = []
    for at, cache in (("a", False), ("b", True), ("c", True)):
        setup = training("full", at=at, data=repeated(uneven, 2), cache=cache, epochs=1)
        setup.train()
        digests.append(setup.digest)
    assert {entry.about["kind"] for entry in default_cache().entries()} == {"tokens"}
    assert len(set(digests)) == 1


def test_accumulated_focal_loss_is_the_mean_over_the_step(uneven: DataBundle, training: Callable[..., Setup]) -> None:
    """The loss of the first step in one batch, in four, and by torch from the outputs of the untrained model."""
    objective = {"focal_gamma": 2.0, "class_weights": "effective", "effective_beta": 0.9}
    found = []
    for at, size in (("a", {"batch_size": 25}), ("b", {"batch_size": 7, "accumulate": 4})):
        recorder = Recorder()
        setup = training(
            "full", at=at, data=uneven, objective=objective, observers=[recorder], max_steps=1, dropout=0.0, **size
        )
        setup.net.model.eval()
        if at == "a":
            train = setup.job.data.splits["train"]
            batch = setup.net.tokenizer([text for (text,) in train.texts], padding=True, return_tensors="pt")
            with torch.no_grad():
                logits_NC = setup.net.model(**batch).logits.double()
        setup.train()
        found.append(recorder.of(Step)[0].loss)
    assert found[0] == pytest.approx(found[1], rel=1e-5)
    targets, weights = torch.as_tensor(train.targets), torch.as_tensor(setup.job.objective.weights)
    p_N = functional.softmax(logits_NC, dim=1)[torch.arange(len(targets)), targets]
    losses_N = -weights[targets] * (1 - p_N) ** 2 * p_N.log()
    assert found[0] == pytest.approx((losses_N.sum() / weights[targets].sum()).item(), rel=1e-5)
