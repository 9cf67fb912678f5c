"""One step against transformers, peft and torch."""

from __future__ import annotations

from collections.abc import Callable, Iterator
from typing import Any

import numpy as np
import pytest
import torch
from torch import nn
from training_bench import Recorder, Setup
from transformers import AutoModelForSequenceClassification, AutoTokenizer

from tunewise.engine.course import Course
from tunewise.engine.events import Step
from tunewise.engine.optim import Optimizer
from tunewise.errors import NonFiniteError
from tunewise.models.blocks import named_tensors
from tunewise.objectives.classification import Classification
from tunewise.types import DataBundle, Schema, Split

PROBLEMS = {
    "classification": "single_label_classification",
    "multilabel": "multi_label_classification",
    "regression": "regression",
}


@pytest.fixture
def gradients(monkeypatch: pytest.MonkeyPatch) -> list[dict[str, torch.Tensor]]:
    """The gradients of every step before clipping, by place in the optimiser's list of tensors."""
    seen = []
    real = Optimizer.clip

    def clip(self: Optimizer) -> float:
        seen.append({t.name: t.parameter.grad.clone() for t in self.tensors if t.parameter.grad is not None})
        return real(self)

    monkeypatch.setattr(Optimizer, "clip", clip)
    return seen


def peer_of(setup: Setup) -> nn.Module:
    """The model that transformers itself loads, with the first values of our output layers."""
    schema = setup.job.data.schema
    peer = AutoModelForSequenceClassification.from_pretrained(
        setup.net.located.path,
        num_labels=schema.outputs,
        problem_type=PROBLEMS[schema.task],
        pad_token_id=setup.net.tokenizer.pad_token_id,
    )
    peer.load_state_dict(setup.net.model.state_dict())
    for module in peer.modules():
        if isinstance(module, nn.Dropout):
            module.p = 0.0
    return peer.train()


def batches(setup: Setup) -> Iterator[dict[str, torch.Tensor]]:
    """The batches of the training, made by the tokeniser of transformers."""
    split = setup.job.data.splits["train"]
    ours = setup.net.tokenizer
    tokenizer = AutoTokenizer.from_pretrained(setup.net.located.path, model_input_names=ours.model_input_names)
    tokenizer.pad_token = ours.pad_token
    lengths = np.array([len(tokenizer(*texts).input_ids) for texts in split.texts])
    course = Course(lengths, setup.job.config, setup.job.seed)
    for step in range(course.total_steps):
        rows = course.rows(step)
        columns = zip(*(split.texts[row] for row in rows), strict=True)
        batch = tokenizer(*(list(column) for column in columns), padding=True, return_tensors="pt")
        yield {**batch, "labels": torch.as_tensor(split.targets[rows])}


@pytest.mark.parametrize(
    ("family", "task", "pairs"),
    [
        ("bert", "classification", False),
        ("gpt2", "classification", False),
        ("distilbert", "multilabel", False),
        ("bert", "regression", True),
        ("bert", "multilabel", True),
    ],
)
def test_loss_and_gradients_are_those_of_transformers(
    family: str,
    task: str,
    pairs: bool,
    training: Callable[..., Setup],
    toy_data: Callable[..., DataBundle],
    gradients: list[dict[str, torch.Tensor]],
) -> None:
    recorder = Recorder()
    setup = training(
        "full",
        family=family,
        data=toy_data(task, pairs=pairs),
        dropout=0.0,
        max_steps=1,
        observers=[recorder],
        objective={"standardize": False},
    )
    peer, batch = peer_of(setup), next(batches(setup))
    output = peer(**batch)
    output.loss.backward()
    setup.train()
    (step,) = recorder.of(Step)
    assert step.loss == pytest.approx(output.loss.item(), rel=1e-6)
    assert step.tokens == int(batch["attention_mask"].sum())
    compared = 0
    for name, parameter in peer.named_parameters():
        ours = gradients[0].get(name)
        if ours is not None and ours.shape == parameter.shape:
            torch.testing.assert_close(ours, parameter.grad, rtol=1e-5, atol=1e-7, msg=name)
            compared += 1
    assert compared >= len(list(peer.parameters())) - 1  # the embedding may train only the rows in use
    norm = torch.stack([p.grad.norm() for p in peer.parameters() if p.grad is not None]).norm()
    assert step.grad_norm == pytest.approx(norm.item(), rel=1e-5)


def hand_written_loop(model: nn.Module, setup: Setup, trained: Callable[[str], bool], steps: int) -> None:
    """AdamW as torch has it, with clipping at 0.5, linear schedule, 2 steps of warm-up, and decay 0.1 on matrices but
    those of embeddings."""
    named = {name: p for name, p in model.named_parameters() if trained(name)}
    for name, parameter in model.named_parameters():
        parameter.requires_grad_(name in named)
    plain = [p for name, p in named.items() if "bias" in name or "LayerNorm" in name or "embeddings" in name]
    decayed = [p for p in named.values() if all(p is not other for other in plain)]
    groups = [{"params": decayed, "weight_decay": 0.1}, {"params": plain, "weight_decay": 0.0}]
    optimizer = torch.optim.AdamW(groups, foreach=False)
    for step, batch in enumerate(batches(setup)):
        for group in optimizer.param_groups:
            group["lr"] = 2e-3 * ((step + 1) / 2 if step < 2 else 1 - (step - 2) / (steps - 2))
        model(**batch).loss.backward()
        nn.utils.clip_grad_norm_(list(named.values()), 0.5)
        optimizer.step()
        optimizer.zero_grad()


HAND = {"dropout": 0.0, "max_steps": 5, "keep_best": False, "weight_decay": 0.1, "max_grad_norm": 0.5, "warmup": 2}


@pytest.mark.parametrize("size", [{}, {"batch_tokens": 40, "accumulate": 3}])
def test_steps_are_those_of_a_hand_written_loop(size: dict[str, int], training: Callable[..., Setup]) -> None:
    setup = training("full", options={"head_rate": 1}, **HAND, **size)
    peer = peer_of(setup)
    hand_written_loop(peer, setup, lambda name: True, 5)
    setup.train()
    theirs = dict(peer.named_parameters())
    before = dict(peer_of(training("full")).named_parameters())
    for name, ours in setup.weights.items():
        if name.endswith("key.bias"):  # its gradient is 0 but for rounding, which Adam enlarges
            continue
        torch.testing.assert_close(ours, theirs[name], rtol=1e-5, atol=2e-6, msg=name)
    assert not torch.equal(before["classifier.weight"], theirs["classifier.weight"])


def test_lora_steps_are_those_of_peft(training: Callable[..., Setup]) -> None:
    import peft

    setup = training("lora", options={"rank": 4, "alpha": 8, "learning_rate": 2e-3}, **HAND)
    peer = peer_of(setup)
    torch.manual_seed(0)  # what decides the first values of the updates
    wrapped = peft.get_peft_model(
        peer,
        peft.LoraConfig(
            task_type="SEQ_CLS",
            r=4,
            lora_alpha=8,
            lora_dropout=0.0,
            modules_to_save=["classifier"],
            target_modules=["query", "key", "value", "attention.output.dense", "intermediate.dense", "output.dense"],
        ),
    )
    # The pooling layer trains too: it is part of the output layers.
    hand_written_loop(wrapped, setup, lambda name: "lora_" in name or "modules_to_save" in name or "pooler" in name, 5)
    setup.train()
    theirs = named_tensors(wrapped)
    moved = 0
    for name, ours in setup.weights.items():
        torch.testing.assert_close(ours, theirs[name], rtol=1e-5, atol=2e-6, msg=name)
        moved += "lora_B" in name and bool(ours.abs().max() > 0)
    assert moved == 12  # 6 linear layers in each of 2 blocks


def uneven(toy_data: Callable[..., DataBundle]) -> DataBundle:
    """39 rows, so that the last step of an epoch has 7, of which the last batch has 3."""
    whole = toy_data()
    train = whole.splits["train"]
    cut = Split("train", train.texts[:39], train.targets[:39], train.rows[:39], train.source)
    return DataBundle({**whole.splits, "train": cut}, whole.schema, (), "uneven")


@pytest.mark.parametrize("group_by_length", [True, False])
def test_four_batches_of_four_are_one_of_sixteen(
    group_by_length: bool,
    training: Callable[..., Setup],
    toy_data: Callable[..., DataBundle],
    gradients: list[dict[str, torch.Tensor]],
) -> None:
    data = uneven(toy_data)
    common = {
        "data": data,
        "dropout": 0.0,
        "epochs": 1,
        "group_by_length": group_by_length,
        "learning_rate": 1e-5,
        "objective": {"class_weights": {"refund": 3.0, "praise": 0.25}},
    }
    losses = []
    for at, sizes in (("a", {"batch_size": 16}), ("b", {"batch_size": 4, "accumulate": 4})):
        recorder = Recorder()
        training("full", at=at, observers=[recorder], **sizes, **common).train()
        losses.append([event.loss for event in recorder.of(Step)])
    assert len(losses[0]) == 3
    np.testing.assert_allclose(losses[0], losses[1], rtol=1e-6)
    for once, in_parts in zip(gradients[:3], gradients[3:], strict=True):
        assert once.keys() == in_parts.keys()
        whole = torch.cat([gradient.flatten() for gradient in once.values()])
        summed = torch.cat([in_parts[name].flatten() for name in once])
        assert float((whole - summed).norm() / whole.norm()) < 1e-6


def test_a_loss_that_is_no_number_stops_before_the_update(
    training: Callable[..., Setup], monkeypatch: pytest.MonkeyPatch
) -> None:
    setup = training("full", epochs=1, weight_decay=0.5)
    real, seen = Classification.loss, []

    def poisoned(self: Classification, logits_BC: torch.Tensor, targets: torch.Tensor) -> Any:
        seen.append(setup.weights)
        return real(self, logits_BC * float("nan") if len(seen) == 3 else logits_BC, targets)

    monkeypatch.setattr(Classification, "loss", poisoned)
    with pytest.raises(NonFiniteError, match="the loss of step 3 is nan; the weights were not updated") as caught:
        setup.train()
    course = Course(
        np.array([len(setup.net.tokenizer(*t).input_ids) for t in setup.job.data.splits["train"].texts]),
        setup.job.config,
        0,
    )
    rows = setup.job.data.splits["train"].rows[course.rows(2)]
    assert caught.value.where == f"rows {', '.join(map(str, rows))} of toy.csv"
    for name, weight in setup.weights.items():
        if weight.shape == seen[2][name].shape:
            assert torch.equal(weight, seen[2][name]), name
    assert not torch.equal(seen[0]["classifier.weight"], seen[2]["classifier.weight"])


def test_an_infinite_gradient_stops_too(training: Callable[..., Setup]) -> None:
    setup = training("head", epochs=1)
    before = setup.weights
    setup.net.model.classifier.register_full_backward_hook(
        lambda module, into, out: tuple(None if part is None else part * float("inf") for part in into)
    )
    with pytest.raises(NonFiniteError, match=r"the gradient's norm of step 1 is (inf|nan)"):
        setup.train()
    assert all(torch.equal(before[name], after) for name, after in setup.weights.items())


@pytest.mark.parametrize(("until", "stops"), [(2, False), (99, True)])
def test_fp16_skips_a_few_steps_and_no_more(until: int, stops: bool, training: Callable[..., Setup]) -> None:
    """The scale begins at 65536 and is halved at each step whose gradient is infinite."""
    recorder = Recorder()
    settings = {"precision": "fp16", "epochs": 4, "keep_best": False, "weight_decay": 0.5, "cache": False}
    setup = training("head", observers=[recorder], **settings)
    calls: list[int] = []

    def poison(module: nn.Module, into: tuple[Any, ...], out: tuple[Any, ...]) -> tuple[Any, ...] | None:
        calls.append(1)
        return tuple(part * float("inf") for part in into) if len(calls) <= until else None

    setup.net.model.classifier.register_full_backward_hook(poison)
    before = setup.weights
    if stops:
        with pytest.raises(NonFiniteError, match="the gradient's norm of step 17 is"):
            setup.train()
    else:
        setup.train()
        assert np.isfinite([event.grad_norm for event in recorder.of(Step)]).tolist() == [False] * 2 + [True] * 22
    assert stops == all(torch.equal(before[name], after) for name, after in setup.weights.items())


def test_extreme_regression_target_is_told_by_row(
    training: Callable[..., Setup], toy_data: Callable[..., DataBundle]
) -> None:
    data = toy_data("regression")
    train = data.splits["train"]
    targets = train.targets.copy()
    targets[5] = 3e38
    bad = Split("train", train.texts, targets, train.rows, train.source)
    data = DataBundle({**data.splits, "train": bad}, Schema("regression", ("message",), "label"), (), "bad")
    with pytest.raises(NonFiniteError, match=r"where: row 6 of toy\.csv; other rows of the step: \d+(, \d+){6}\n"):
        training("full", data=data, objective={"standardize": False}, epochs=1).train()


def test_the_moments_are_gone_after_training(training: Callable[..., Setup], monkeypatch: pytest.MonkeyPatch) -> None:
    """Evaluation and hand-over need the memory; no cycle of references may hold it until a collection."""
    import gc
    import weakref

    kept: list[weakref.ref[Optimizer]] = []
    real = Optimizer.__init__

    def init(self: Optimizer, *args: Any) -> None:
        kept.append(weakref.ref(self))
        real(self, *args)

    monkeypatch.setattr(Optimizer, "__init__", init)
    setup = training("full", epochs=1)
    gc.disable()
    try:
        setup.train()
        assert [reference() for reference in kept] == [None]
    finally:
        gc.enable()
    assert all(parameter.grad is None for parameter in setup.net.model.parameters())
