"""What a prefix gives, and how it is given back."""

from __future__ import annotations

from collections.abc import Callable
from contextlib import nullcontext
from pathlib import Path

import pytest
import torch
from transformers import AutoModelForSequenceClassification

from tunewise.models.prefix import STATES, Prefix, narrowed, same_outputs

BATCH = {
    "input_ids": torch.tensor([[2, 20, 30, 40, 3], [2, 50, 3, 0, 0]]),
    "attention_mask": torch.tensor([[1, 1, 1, 1, 1], [1, 1, 1, 0, 0]]),
}


@pytest.fixture
def model(tiny_model: Callable[..., Path]) -> torch.nn.Module:
    torch.manual_seed(0)
    return AutoModelForSequenceClassification.from_pretrained(tiny_model("bert"), num_labels=3).eval()


def prefix_of(model: torch.nn.Module, depth: int) -> Prefix:
    return Prefix(model, [model.bert.embeddings], list(model.bert.encoder.layer[:depth]))


@pytest.mark.parametrize("depth", [1, 2, 4])
def test_the_states_are_those_that_transformers_tells(depth: int, model: torch.nn.Module) -> None:
    told = model(**BATCH, output_hidden_states=True).hidden_states[depth]
    prefix = prefix_of(model, depth)
    assert torch.equal(prefix.capture(BATCH), told) and torch.equal(prefix.learn(BATCH), told)


def test_nothing_above_the_prefix_runs(model: torch.nn.Module) -> None:
    ran = []
    for number, block in enumerate(model.bert.encoder.layer):
        block.register_forward_hook(lambda module, args, output, number=number: ran.append(number))
    prefix_of(model, 2).capture(BATCH)
    assert ran == [0, 1]


@pytest.mark.parametrize("skips", [True, False])
def test_states_are_given_back_in_the_place_of_computing(skips: bool, model: torch.nn.Module) -> None:
    prefix, ran = prefix_of(model, 2), []
    model.bert.encoder.layer[0].output.dense.register_forward_hook(lambda *_: ran.append("block"))
    model.bert.embeddings.word_embeddings.register_forward_hook(lambda *_: ran.append("embedding"))
    prefix.skips_embedding = skips
    plain = model(**BATCH).logits
    states = prefix.learn(BATCH)
    ran.clear()
    remove = prefix.watch()
    assert torch.equal(model(**BATCH, **{STATES: states}).logits, plain)
    assert ran == ([] if skips else ["embedding"])
    assert not torch.equal(model(**BATCH, **{STATES: states + 1}).logits, plain)
    assert torch.equal(model(**BATCH).logits, plain)  # without the argument, all of it runs
    remove()
    with pytest.raises(TypeError, match=STATES):
        model.bert.embeddings(**{STATES: states})
    assert not any("forward" in vars(module) for module in model.modules())


def test_what_blocks_return_besides_is_filled_up(model: torch.nn.Module) -> None:
    class Pair(torch.nn.Module):
        def forward(self, hidden: torch.Tensor) -> tuple[torch.Tensor, int]:
            return hidden * 2, 7

    class Model(torch.nn.Module):
        def __init__(self) -> None:
            super().__init__()
            self.blocks = torch.nn.ModuleList([Pair(), Pair()])

        def forward(self, input_ids: torch.Tensor) -> tuple[torch.Tensor, int | None]:
            hidden, extra = self.blocks[0](input_ids.float())
            return self.blocks[1](hidden)[0], extra

    own = Model()
    prefix = Prefix(own, [], [own.blocks[0]])
    states = prefix.learn({"input_ids": torch.ones(2, 3)})
    remove = prefix.watch()
    hidden, extra = own(input_ids=torch.zeros(2, 3), **{STATES: states})
    assert torch.equal(hidden, torch.full((2, 3), 4.0)) and extra is None
    remove()


def test_one_position_of_each_row() -> None:
    batch = {**BATCH, "word_places": torch.ones(2, 3)}
    small = narrowed(batch, torch.tensor([3, 1]))
    assert small["input_ids"].tolist() == [[40], [50]] and small["attention_mask"].tolist() == [[1], [1]]
    assert small["word_places"] is batch["word_places"]


def test_outputs_and_gradients_are_compared(model: torch.nn.Module) -> None:
    other = {**BATCH, "input_ids": BATCH["input_ids"].clone()}
    assert same_outputs(model, BATCH, other, nullcontext)
    other["input_ids"][0, 1] = 21
    assert not same_outputs(model, BATCH, other, nullcontext)
    assert not same_outputs(model, BATCH, other, nullcontext, tolerance=1e-3)
    assert same_outputs(model, BATCH, other, nullcontext, tolerance=1e3)
    with torch.no_grad():
        model.classifier.weight.zero_()
    assert not same_outputs(model, BATCH, other, nullcontext), "equal outputs hide it, the gradient does not"
    model.requires_grad_(False)
    assert same_outputs(model, BATCH, other, nullcontext)
    assert all(parameter.grad is None for parameter in model.parameters())


def test_dropout_above_the_prefix_has_to_drop_the_same(model: torch.nn.Module) -> None:
    model.train()
    assert same_outputs(model, BATCH, dict(BATCH), nullcontext)
