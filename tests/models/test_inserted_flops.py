"""FLOPs of layers that peft inserted are those that torch counts."""

from __future__ import annotations

import pytest
import torch
from torch.utils.flop_counter import FlopCounterMode

from tunewise.data.tokenise import tokenise
from tunewise.engine.apply import choose_trained, insert
from tunewise.methods import find_method
from tunewise.models.cost import StepFlops, watch_flops
from tunewise.models.load import load_net
from tunewise.models.locate import locate
from tunewise.types import Signals

CASES = [
    ("lora_plus", {}),
    ("dora", {}),
    ("dora", {"dropout": 0.1, "targets": "attention"}),
    ("pissa", {}),
    ("vera", {"rank": 40}),
    ("vera", {"rank": 40, "targets": "feed-forward"}),
    ("oft", {"block_size": 16, "terms": 4}),
    ("ia3", {}),
]


def planned(folder, data, method: str, options: dict):
    net = load_net(locate(str(folder), folder), data.schema, attention="eager")
    kind = find_method(method)
    plan = kind(kind.Config(**options)).plan(net.map, Signals())
    insert(plan, net, 0)
    choose_trained(plan, net)
    return net, tokenise(data.splits["train"].texts, net.tokenizer, net.max_length)


def check(net, tokens, rows: range, slack: int, flops: StepFlops | None = None) -> StepFlops:
    """Our count equals torch's, but for `slack` products of an attention of which only one factor needs a gradient."""
    batch = tokens.batch(rows)
    with watch_flops(net.model, net.map) as watched, FlopCounterMode(display=False) as forward:
        logits = net.model(**batch).logits
    with FlopCounterMode(display=False) as backward:
        logits.sum().backward()
    flops = flops or watched
    count, length = batch["input_ids"].shape
    assert flops.forward(count, length) == pytest.approx(forward.get_total_flops(), rel=1e-9)
    more = flops.backward(count, length) - backward.get_total_flops()
    assert more == pytest.approx(slack * 2 * count * length**2 * net.map.width, abs=1.0)
    return flops


@pytest.mark.parametrize(
    ("family", "name", "options"),
    [(family, *case) for family in ("bert", "gpt2", "t5") for case in CASES if (family, case[0]) != ("gpt2", "oft")],
)
def test_flops_are_those_that_torch_counts(family, name, options, tiny_model, toy_data):
    net, tokens = planned(tiny_model(family), toy_data(), name, options)
    # Nothing before the queries trains in a first block whose keys are scaled (IA3), nor in the first block of a
    # decoder that reads an encoder in which something trains.
    slack = len(net.map.chains) if name == "ia3" and family != "gpt2" else 0
    slack += family == "t5" and options.get("targets") == "feed-forward"
    flops = check(net, tokens, range(5), slack)
    check(net, tokens, range(7, 10), slack, flops)  # what one step showed holds for batches of other shapes


def test_flops_of_an_exact_rotation_leave_out_the_solving_of_equations(tiny_bert, toy_data):
    net, tokens = planned(tiny_bert, toy_data(), "oft", {"block_size": 16})
    batch = tokens.batch(range(5))
    with watch_flops(net.model, net.map) as flops, FlopCounterMode(display=False) as forward:
        logits = net.model(**batch).logits
    with FlopCounterMode(display=False) as backward:
        logits.sum().backward()
    assert flops.forward(*batch["input_ids"].shape) == forward.get_total_flops()
    # torch counts one product of blocks (16 x 16) in the backward pass: 4 blocks x (5 layers of 2 blocks, 1 of 4).
    assert backward.get_total_flops() - flops.backward(*batch["input_ids"].shape) == 4 * (5 * 2 + 4) * 2 * 16**3


def test_the_norm_of_dora_is_made_once_per_batch(tiny_bert, toy_data):
    net, tokens = planned(tiny_bert, toy_data(), "dora", {"rank": 4, "targets": ["query"]})
    with watch_flops(net.model, net.map) as flops:
        net.model(**tokens.batch(range(5)))
    assert flops.batch_forward == 4 * 2 * 32 * (32 * 4 + 4 * 32)  # 4 blocks; the identity (32 x 32) through A and B
    assert flops.batch_backward == 0


def test_four_bits_cost_the_same_products(tiny_bert, toy_data):
    pytest.importorskip("bitsandbytes")
    counts = []
    for name in ("lora", "qlora"):
        net, tokens = planned(tiny_bert, toy_data(), name, {})
        with watch_flops(net.model, net.map) as flops:
            net.model(**tokens.batch(range(5)))
        counts.append(flops)
    assert counts[0] == counts[1]


def test_watching_leaves_no_trace(tiny_bert, toy_data):
    net, tokens = planned(tiny_bert, toy_data(), "vera", {"dropout": 0.5})
    batch, outputs = tokens.batch(range(3)), []
    for watched in (True, False):
        torch.manual_seed(0)
        if watched:
            with watch_flops(net.model, net.map):
                outputs.append(net.model(**batch).logits)
        else:
            outputs.append(net.model(**batch).logits)
    assert torch.equal(*outputs)
    assert not any(module._forward_hooks or module._forward_pre_hooks for module in net.model.modules())
