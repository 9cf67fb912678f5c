"""What holds for every method that adds modules inside a model or beside it."""

from __future__ import annotations

from typing import Any

import pytest
import torch
from additive_bench import FAMILIES, batch_of, logits_of, net_of, put, stir, tiny_vit
from torch.utils.flop_counter import FlopCounterMode

from tunewise.methods import METHODS
from tunewise.models.blocks import named_tensors
from tunewise.models.cost import watch_flops

ADDITIVE: dict[str, tuple[str, dict[str, Any]]] = {
    "houlsby": ("adapter", {}),
    "pfeiffer": ("adapter", {"placement": "feed-forward"}),
    "parallel": ("adapter", {"placement": "parallel"}),
    "inserted_blocks": ("inserted_blocks", {}),
    "ladder": ("ladder", {}),
}
NEW = ("adapter_", ".inserted", ".ladder.", ".new_layers.")


def any_net(family: str, tiny_model):
    return tiny_vit() if family == "vit" else net_of(tiny_model(family))


@pytest.mark.parametrize("family", [*FAMILIES, "vit"])
@pytest.mark.parametrize("case", ADDITIVE)
def test_the_model_starts_unchanged_and_what_was_added_can_change_it(case, family, tiny_model):
    name, options = ADDITIVE[case]
    net = any_net(family, tiny_model)
    before = logits_of(net)
    put(net, name, **options)
    assert METHODS[name].starts_unchanged
    assert torch.equal(logits_of(net), before)
    stir(net, *NEW)
    assert (logits_of(net) - before).abs().max() > 1e-4


@pytest.mark.parametrize("family", [*FAMILIES, "vit"])
@pytest.mark.parametrize("case", [*ADDITIVE, "mlp_head"])
def test_all_that_is_said_to_train_gets_a_gradient_and_the_rest_none(case, family, tiny_model):
    name, options = ADDITIVE.get(case, (case, {"unfreeze": 1}))
    net = any_net(family, tiny_model)
    own = set(named_tensors(net.model))
    trained = put(net, name, **options)
    stir(net, *NEW)
    net.model(**batch_of(net)).logits.square().sum().backward()
    tensors = named_tensors(net.model)
    assert {name for name, tensor in tensors.items() if tensor.grad is not None} == trained
    added = trained - own
    assert added == tensors.keys() - own and {tensor.name for tensor in net.map.head} <= trained
    # A key's bias moves attention by nothing at all, so its gradient is rounding only.
    assert all(tensors[name].grad.abs().max() > 0 for name in added if not name.endswith("key.bias"))


@pytest.mark.parametrize("family", ["bert", "gpt2", "llama"])
@pytest.mark.parametrize("case", [*ADDITIVE, "mlp_head"])
def test_flops_are_those_that_torch_counts(case, family, tiny_model):
    """Also those of the attention inside what was inserted."""
    name, options = ADDITIVE.get(case, (case, {"unfreeze": 1}))
    net = net_of(tiny_model(family), attention="eager")
    put(net, name, **options)
    batch = batch_of(net)
    with torch.nn.attention.sdpa_kernel(torch.nn.attention.SDPBackend.MATH):
        with watch_flops(net.model, net.map) as flops, FlopCounterMode(display=False) as forward:
            logits = net.model(**batch).logits
        with FlopCounterMode(display=False) as backward:
            logits.sum().backward()
    shape = batch["input_ids"].shape
    assert flops.forward(*shape) == forward.get_total_flops()
    assert flops.backward(*shape) == backward.get_total_flops()


@pytest.mark.parametrize("family", ["bert", "llama", "t5"])
@pytest.mark.parametrize("case", [*ADDITIVE, "mlp_head"])
def test_a_row_gives_the_same_alone_as_padded(case, family, tiny_model):
    name, options = ADDITIVE.get(case, (case, {}))
    net = net_of(tiny_model(family))
    put(net, name, **options)
    stir(net, *NEW)
    short = [("late",)]
    torch.testing.assert_close(logits_of(net)[1:2], logits_of(net, short), rtol=1e-4, atol=1e-4)
