"""Gradient checkpointing changes no bit of any gradient, and its second forward pass is counted."""

from __future__ import annotations

from typing import Any

import pytest
import torch
from torch.utils.flop_counter import FlopCounterMode

from tunewise.data.tokenise import tokenise
from tunewise.engine.apply import choose_trained, insert
from tunewise.engine.computed_again import blocks_computed_again
from tunewise.engine.dropout import Masks
from tunewise.errors import MethodError
from tunewise.methods import find_method
from tunewise.models.cost import watch_flops
from tunewise.models.load import load_net
from tunewise.models.locate import locate
from tunewise.types import Signals


def planned(folder: Any, data: Any, method: str, dropout: float, options: dict[str, Any] | None = None) -> Any:
    net = load_net(locate(str(folder), folder), data.schema, dropout=dropout, attention="eager")
    kind = find_method(method)
    plan = kind(kind.Config(**(options or {}))).plan(net.map, Signals())
    insert(plan, net, 0)
    choose_trained(plan, net)
    return net


def gradients(net: Any, batch: dict[str, torch.Tensor], wanted: bool) -> tuple[dict[str, torch.Tensor], Any, int]:
    """Of two passes, so that masks go on where they should; what they cost; torch's count of the second backward."""
    masks = Masks(3)
    masks.begin(1)
    torch.manual_seed(7)  # attention in one kernel draws its dropout from torch
    net.model.zero_grad()
    with blocks_computed_again(net, masks, wanted):
        for _ in range(2):
            with watch_flops(net.model, net.map) as flops, masks.drawing():
                logits = net.model(**batch).logits
            with FlopCounterMode(display=False) as counted:
                logits.square().sum().backward()
    found = {name: tensor.grad for name, tensor in net.model.named_parameters() if tensor.grad is not None}
    return found, flops, counted.get_total_flops()


@pytest.mark.parametrize("family", ["bert", "llama", "t5"])
@pytest.mark.parametrize("method", ["full", "lora", "last_k", "adapter", "prefix_tuning"])
def test_gradients_are_the_same_to_the_bit(family: str, method: str, tiny_model: Any, toy_data: Any) -> None:
    data = toy_data()
    options = {"dropout": 0.3} if method == "lora" else {}
    net = planned(tiny_model(family), data, method, 0.2, options)
    batch = tokenise(data.splits["train"].texts, net.tokenizer, net.max_length).batch(range(5))
    plain, kept_flops, kept = gradients(net, batch, wanted=False)
    again, flops, counted = gradients(net, batch, wanted=True)
    assert plain.keys() == again.keys()
    assert all(torch.equal(plain[name], again[name]) for name in plain)
    assert any(bool(gradient.any()) for gradient in plain.values())
    shape = batch["input_ids"].shape
    assert counted > kept and flops.backward(*shape) > kept_flops.backward(*shape)
    if method == "prefix_tuning":
        return  # its attention is one kernel, which computes products again by itself
    # torch stops where the last kept value stands again, before the product that closes a block.
    assert flops.backward(*shape) == pytest.approx(counted, rel=0.12)


def test_blocks_below_the_first_that_trains_are_not_computed_again(tiny_model: Any, toy_data: Any) -> None:
    net = planned(tiny_model("bert"), toy_data(), "last_k", 0.0, {"k": 1})
    batch = tokenise(toy_data().splits["train"].texts, net.tokenizer, net.max_length).batch(range(5))
    calls: list[int] = []
    for number, block in enumerate(net.model.base_model.encoder.layer):
        block.attention.self.query.register_forward_hook(lambda *_, number=number: calls.append(number))
    with blocks_computed_again(net, Masks(0), True):
        net.model(**batch).logits.sum().backward()
    assert calls == [0, 1, 2, 3, 3]


def test_a_model_that_cannot_is_refused(tiny_model: Any, toy_data: Any) -> None:
    net = planned(tiny_model("bert"), toy_data(), "full", 0.0)
    net.model.supports_gradient_checkpointing = False
    with pytest.raises(MethodError, match="no gradient checkpointing"), blocks_computed_again(net, Masks(0), True):
        pass
