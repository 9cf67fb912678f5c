"""Adapters beside the feed-forward half, and the factor on what an adapter adds; for the rest see LoRA's tests."""

from __future__ import annotations

import pytest
import torch
from additive_bench import FAMILIES, batch_of, net_of, plan_of, put, sizes_of, stir, tiny_vit
from torch import nn
from torch.nn import functional

from tunewise.methods.adapter import with_bottleneck
from tunewise.models.blocks import named_tensors


@pytest.mark.parametrize(("options", "scale"), [({}, 4.0), ({"scale": 1.5, "activation": "relu", "size": 7}, 1.5)])
def test_parallel_is_he_s_formula_around_the_feed_forward_half_of_bert(options, scale, tiny_bert):
    net = net_of(tiny_bert)
    put(net, "adapter", placement="parallel", **options)
    stir(net, "adapter_")
    block, own = net.model.bert.encoder.layer[2], net.model.bert.encoder.layer[2].base_layer
    hidden = torch.randn(2, 5, 32, generator=torch.Generator().manual_seed(3))
    act = functional.relu if options else functional.gelu
    net.model.eval()
    with torch.no_grad():
        after_attention = own.attention(hidden)[0]
        inner = functional.gelu(own.intermediate.dense(after_attention))
        out = inner @ own.output.dense.weight.T + own.output.dense.bias
        out = out + scale * block.adapter_up(act(block.adapter_down(after_attention)))
        expected = own.output.LayerNorm(out + after_attention)
        torch.testing.assert_close(block(hidden), expected, rtol=1e-5, atol=1e-5)


@pytest.mark.parametrize("family", [*FAMILIES, "albert", "vit"])
def test_parallel_reads_what_the_feed_forward_half_reads(family, tiny_model):
    """The first layer of the half by name; in a pre-norm model it reads the normalised hidden states."""
    firsts = {
        **{key: {"intermediate.dense"} for key in ("bert", "roberta", "deberta-v2", "electra", "mpnet")},
        "distilbert": {"ffn.lin1"},
        "modernbert": {"mlp.Wi"},
        "gpt2": {"mlp.c_fc"},
        "llama": {"mlp.gate_proj"},
        "t5": {"layer.1.DenseReluDense.wi", "layer.2.DenseReluDense.wi"},
        "albert": {"albert_layers.0.ffn"},
        "vit": {"mlp.fc1"},
    }
    net = tiny_vit() if family == "vit" else net_of(tiny_model(family))
    plan = plan_of(net, "adapter", placement="parallel")
    assert {insert.options["first"] for insert in plan.inserts} == firsts[family]
    assert [path for insert in plan.inserts for path in insert.where] == [block.path for block in net.map.blocks]
    for insert in plan.inserts:
        for path in insert.where:
            assert f"{path}.{insert.options['last']}" in {end for block in net.map.blocks for end in block.feed_forward}


@pytest.mark.parametrize(
    ("options", "count"), [({}, 2), ({"placement": "feed-forward"}, 1), ({"placement": "parallel"}, 1)]
)
@pytest.mark.parametrize("family", ["bert", "gpt2"])
def test_how_many_parameters_it_has(family, options, count, tiny_model):
    net = net_of(tiny_model(family))
    put(net, "adapter", size=5, **options)
    assert sizes_of(net, "adapter_") == 4 * count * (32 * 5 + 5 + 5 * 32 + 32)


def test_what_is_added_is_scaled_in_every_placement():
    torch.manual_seed(0)
    layer, hidden = nn.Linear(6, 10), torch.randn(4, 6)
    added = []
    for scale in (1.0, 2.5):
        torch.manual_seed(1)
        wrapped = with_bottleneck(layer, size=3, activation="gelu", scale=scale)
        nn.init.normal_(wrapped.adapter_up.weight)
        added.append(wrapped(hidden) - layer(hidden))
    torch.testing.assert_close(added[1], 2.5 * added[0])


@pytest.mark.parametrize(
    ("options", "scale"),
    [({}, 1.0), ({"placement": "feed-forward", "scale": 3.0}, 3.0), ({"placement": "parallel"}, 4.0)],
)
def test_the_factor_is_four_for_parallel_and_one_else(options, scale, tiny_bert):
    plan = plan_of(net_of(tiny_bert), "adapter", **options)
    assert {insert.options["scale"] for insert in plan.inserts} == {scale}


def test_an_error_in_a_forward_pass_leaves_nothing_behind(tiny_bert):
    """What the bottleneck read in a pass that broke off is not taken for the next."""
    net = net_of(tiny_bert)
    put(net, "adapter", placement="parallel")
    stir(net, "adapter_")
    net.model.eval()
    block = net.model.bert.encoder.layer[0].base_layer
    with torch.no_grad():
        expected = net.model(**batch_of(net)).logits

        def fail(*_):
            raise RuntimeError("stop")

        handle = block.intermediate.dense.register_forward_hook(fail)
        with pytest.raises(RuntimeError, match="stop"):
            net.model(input_ids=torch.tensor([[2, 9, 3]]))
        handle.remove()
        assert torch.equal(net.model(**batch_of(net)).logits, expected)


def test_names_of_the_model_s_own_tensors_stay(tiny_model):
    net = net_of(tiny_model("t5"))
    before = set(named_tensors(net.model))
    put(net, "adapter", placement="parallel")
    assert before < set(named_tensors(net.model))
