"""A plan that trains a part of a tensor."""

from __future__ import annotations

from collections.abc import Callable
from typing import Any

import numpy as np
import pytest
import torch
from training_bench import Setup

from tunewise.engine.events import Observer, Step
from tunewise.errors import MethodError
from tunewise.methods import Method
from tunewise.models.masks import count_of, elements_of, mask_of
from tunewise.types import ModelMap, Plan, Rule, Signals

EMBEDDING = "bert.embeddings.word_embeddings.weight"
MATRIX = "bert.encoder.layer.1.intermediate.dense.weight"


class Masked(Method):
    """Trains the head and every third element of some tensors."""

    name = "masked"
    tensors = (MATRIX,)
    rules: tuple[Rule, ...] = ()

    def plan(self, model: ModelMap, signals: Signals) -> Plan:
        shapes = {tensor.name: tensor.shape for tensor in model.tensors}
        masks = tuple(mask_of(name, third(shapes[name])) for name in self.tensors)
        rules = self.rules or tuple(Rule(name) for name in self.tensors)
        return Plan((*rules, Rule("classifier.*")), self.learning_rate(model), masks=masks)


def third(shape: tuple[int, ...]) -> np.ndarray:
    return (np.arange(np.prod(shape)) % 3 == 0).reshape(shape)


def masked(training: Callable[..., Setup], *tensors: str, **settings: Any) -> Setup:
    """Whatever the weight decay is, embeddings have none."""
    setup = training("full", **{"weight_decay": 0.1, "keep_best": False, "learning_rate": 3e-3, **settings})
    setup.method = Masked(Masked.Config(learning_rate=3e-3))
    setup.method.tensors = tensors or Masked.tensors
    return setup


@pytest.mark.parametrize("name", [MATRIX, "bert.encoder.layer.0.output.LayerNorm.weight"])
def test_masked_scalars_are_bit_equal_after_fifty_steps_with_weight_decay(
    name: str, training: Callable[..., Setup]
) -> None:
    setup = masked(training, name, max_steps=50)
    before = setup.weights[name]
    trained = setup.train()
    after, trains = setup.weights[name], torch.from_numpy(third(tuple(before.shape)))
    assert torch.equal(after[~trains].view(torch.int32), before[~trains].view(torch.int32))
    assert (after != before)[trains].float().mean() > 0.99
    assert trained.trainable_parameters == int(trains.sum()) + 3 * 32 + 3


def test_what_a_mask_lets_train_trains_as_without_it(training: Callable[..., Setup]) -> None:
    """A mask that marks every element is no mask."""
    results = []
    for marks in (None, True):
        setup = masked(training, MATRIX, max_steps=5)
        if marks:
            shape = tuple(setup.weights[MATRIX].shape)
            plan = Plan((Rule(MATRIX), Rule("classifier.*")), 3e-3, masks=(mask_of(MATRIX, np.ones(shape)),))
        else:
            plan = Plan((Rule(MATRIX), Rule("classifier.*")), 3e-3)
        setup.method.plan = lambda model, signals, plan=plan: plan
        setup.train()
        results.append(setup.digest)
    assert results[0] == results[1]


def test_a_mask_on_an_embedding_of_which_only_the_rows_in_use_train(training: Callable[..., Setup]) -> None:
    setup = masked(training, EMBEDDING, max_steps=8)
    before = setup.weights[EMBEDDING]
    trained = setup.train()
    after, trains = setup.weights[EMBEDDING], torch.from_numpy(third((200, 32)))
    moved = after != before
    assert not moved[~trains].any()
    tokenizer = setup.net.tokenizer
    used = {token for (text,) in setup.job.data.splits["train"].texts for token in tokenizer(text)["input_ids"]}
    assert all(moved[token].any() for token in used)
    assert trained.trainable_parameters == int(trains.sum()) + 3 * 32 + 3


class Norms(Observer):
    def __init__(self) -> None:
        self.seen: list[float] = []

    def on_step(self, event: Step) -> None:
        self.seen.append(event.grad_norm)


def test_the_norm_of_the_gradient_is_that_of_what_trains(training: Callable[..., Setup]) -> None:
    whole, part = Norms(), Norms()
    setup = masked(training, MATRIX, max_steps=1, dropout=0.0, observers=[whole])
    setup.method.plan = lambda model, signals: Plan((Rule(MATRIX), Rule("classifier.*")), 3e-3)
    setup.train()
    masked(training, MATRIX, max_steps=1, dropout=0.0, observers=[part]).train()
    assert 0 < part.seen[0] < whole.seen[0]


def test_a_mask_for_another_model_is_refused(training: Callable[..., Setup]) -> None:
    setup = masked(training)
    plan = Plan((Rule("*"),), 1e-3, masks=(mask_of(MATRIX, np.ones((3, 3))),))
    setup.method.plan = lambda model, signals: plan
    with pytest.raises(MethodError, match=r"the mask of .*intermediate.* has 16 marks, the tensor 2048 elements"):
        setup.train()


def test_a_mask_without_a_rule_is_a_mistake(training: Callable[..., Setup]) -> None:
    setup = masked(training)
    setup.method.rules = (Rule("bert.pooler.*"),)
    with pytest.raises(MethodError, match="masks what it does not train"):
        setup.train()


@pytest.mark.parametrize("shape", [(1,), (7,), (8,), (3, 5), (2, 3, 4), (33, 31)])
def test_a_mask_is_what_it_was_made_from(shape: tuple[int, ...]) -> None:
    marks = np.random.default_rng(0).random(shape) < 0.4
    mask = mask_of("w", marks)
    assert np.array_equal(elements_of(mask, shape), marks) and elements_of(mask, shape).dtype == bool
    assert count_of(mask) == marks.sum()
    assert len(mask.bits) <= 4 * (marks.size // 24 + 1)
