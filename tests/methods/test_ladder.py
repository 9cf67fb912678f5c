from __future__ import annotations

from dataclasses import replace

import pytest
import torch
from additive_bench import FAMILIES, batch_of, net_of, plan_of, put, sizes_of, stir
from torch import nn

from tunewise.engine.apply import frozen_blocks
from tunewise.errors import MethodError
from tunewise.models.blocks import named_tensors
from tunewise.models.cost import watch_flops
from tunewise.models.side_network import SideBlock, SideNetwork, read_blocks


def leaves(start: torch.autograd.graph.Node) -> set[int]:
    """Ids of the parameters that a gradient comes to."""
    found, seen, todo = set(), set(), [start]
    while todo:
        node = todo.pop()
        if node is None or node in seen:
            continue
        seen.add(node)
        if hasattr(node, "variable"):
            found.add(id(node.variable))
        todo += [after for after, _ in node.next_functions]
    return found


@pytest.mark.parametrize("family", FAMILIES)
def test_no_gradient_enters_the_model(family, tiny_model):
    """Nothing that runs inside a block or before the blocks is part of the graph, so nothing of it is kept either."""
    net = net_of(tiny_model(family))
    trained = put(net, "ladder")
    stir(net, ".ladder.")
    inside: list[bool] = []

    def note(module, inputs, output):
        inside.append(output.requires_grad if isinstance(output, torch.Tensor) else output[0].requires_grad)

    own = [net.model.get_submodule(block.path) for block in net.map.blocks]
    own.append(net.model.get_input_embeddings())
    for module in own:
        for part in module.modules():
            if part is not own[-2]:  # the last block's output is where the ladder adds to it
                part.register_forward_hook(note)
    logits = net.model(**batch_of(net)).logits
    assert len(inside) > 5 * len(net.map.blocks) and not any(inside)
    reached = leaves(logits.grad_fn)
    assert reached == {id(tensor) for name, tensor in named_tensors(net.model).items() if name in trained}


def kept_bytes(net) -> int:
    """Bytes that a forward pass keeps for the backward pass, without the parameters."""
    weights = {tensor.untyped_storage().data_ptr() for tensor in net.model.parameters()}
    kept: dict[int, int] = {}

    def keep(tensor: torch.Tensor) -> torch.Tensor:
        storage = tensor.untyped_storage()
        if storage.data_ptr() not in weights:
            kept[storage.data_ptr()] = storage.nbytes()
        return tensor

    net.model.train()
    with torch.autograd.graph.saved_tensors_hooks(keep, lambda tensor: tensor):
        logits = net.model(**batch_of(net)).logits
    assert logits.requires_grad
    return sum(kept.values())


def test_it_costs_less_than_an_adapter_backward_and_in_memory(tiny_model):
    costs = {}
    for name in ("ladder", "adapter"):
        net = net_of(tiny_model("bert", 12), attention="eager")
        put(net, name)
        with watch_flops(net.model, net.map) as flops:
            net.model(**batch_of(net))
        costs[name] = (flops.backward(3, 9), flops.forward(3, 9), kept_bytes(net))
    (ladder, forward, ladder_bytes), (adapter, _, adapter_bytes) = costs["ladder"], costs["adapter"]
    assert ladder < 0.2 * adapter and ladder < 0.2 * forward
    assert ladder_bytes < 0.35 * adapter_bytes


@pytest.mark.parametrize("family", ["bert", "gpt2", "t5", "modernbert"])
def test_the_whole_model_is_in_eval_mode_and_ladder_and_head_train(family, tiny_model):
    net = net_of(tiny_model(family))
    trained = put(net, "ladder")
    assert frozen_blocks(trained, net.map, plan_of(net, "ladder")) == len(net.map.blocks)
    for block in net.map.blocks:
        assert not any(module.training for module in net.model.get_submodule(block.path).modules())
    assert not net.model.get_input_embeddings().training
    side = net.model.get_submodule(f"{net.map.chains[-1].name}.ladder")
    assert all(module.training for module in side.modules())
    heads = {tensor.name.rpartition(".")[0] for tensor in net.map.head}
    assert all(net.model.get_submodule(path).training for path in heads)


def test_a_side_block_is_a_pre_norm_transformer_block():
    torch.manual_seed(0)
    block = SideBlock(32)
    theirs = nn.TransformerEncoderLayer(
        32, block.heads, 128, dropout=0.0, activation="gelu", batch_first=True, norm_first=True
    )
    theirs.self_attn.in_proj_weight, theirs.self_attn.in_proj_bias = (
        block.query_key_value.weight,
        block.query_key_value.bias,
    )
    theirs.self_attn.out_proj = nn.modules.linear.NonDynamicallyQuantizableLinear(32, 32)
    theirs.self_attn.out_proj.load_state_dict(block.out.state_dict())
    theirs.norm1, theirs.norm2 = block.attention_norm, block.feed_forward_norm
    theirs.linear1, _, theirs.linear2 = block.feed_forward
    state = torch.randn(3, 7, 32)
    padding = torch.tensor([[0] * 7, [0] * 4 + [1] * 3, [0] * 6 + [1]], dtype=torch.bool)
    assert block.heads == 2
    torch.testing.assert_close(block(state, None, False), theirs(state), rtol=1e-5, atol=1e-5)
    torch.testing.assert_close(
        block(state, ~padding[:, None, None], False), theirs(state, src_key_padding_mask=padding), rtol=1e-5, atol=1e-5
    )
    causal = nn.Transformer.generate_square_subsequent_mask(7)
    expected = theirs(state, src_mask=causal, is_causal=True)
    torch.testing.assert_close(block(state, None, True), expected, rtol=1e-5, atol=1e-5)


@pytest.mark.parametrize(("size", "heads"), [(1, 1), (16, 1), (48, 3), (96, 6), (50, 2), (127, 1)])
def test_heads_are_about_sixteen_wide_and_divide_the_width(size, heads):
    assert SideBlock(size).heads == heads


def test_the_ladder_is_what_its_formula_says(tiny_bert):
    net = net_of(tiny_bert)
    batch = batch_of(net)
    with torch.no_grad():
        own = net.model.eval().bert(**batch, output_hidden_states=True).hidden_states
    put(net, "ladder")
    stir(net, ".ladder.")
    side: SideNetwork = net.model.bert.encoder.layer.ladder
    allowed = batch["attention_mask"].bool()[:, None, None]

    def tapped(hidden: torch.Tensor) -> torch.Tensor:
        return (hidden - hidden.mean(-1, keepdim=True)) / (hidden.var(-1, keepdim=True, unbiased=False) + 1e-5).sqrt()

    with torch.no_grad():
        state = side.down[0](tapped(own[0]))
        for number in range(4):
            share = 1 / (1 + torch.exp(-side.gate[number] / 0.1))
            mixed = share * state + (1 - share) * side.down[number + 1](tapped(own[number + 1]))
            state = side.blocks[number](mixed, allowed, False)
        expected = own[4] + side.up(side.norm(state))
        got = net.model.eval().bert(**batch).last_hidden_state
    seen = batch["attention_mask"].bool()
    torch.testing.assert_close(got[seen], expected[seen], rtol=1e-4, atol=1e-4)
    assert (got - own[4]).abs().max() > 0.1


@pytest.mark.parametrize("attention", ["eager", "sdpa"])
@pytest.mark.parametrize("family", ["gpt2", "llama"])
def test_a_decoder_cannot_look_ahead_through_its_ladder(family, attention, tiny_model):
    net = net_of(tiny_model(family), attention=attention)
    put(net, "ladder")
    stir(net, ".ladder.")
    ids = torch.tensor([[5, 6, 7, 8, 9, 10]])
    seen = []
    chain = net.model.get_submodule(net.map.chains[0].name)
    chain[-1].register_forward_hook(lambda module, inputs, output: seen.append(output.detach()))
    net.model.eval()
    for last in (10, 11):
        ids[0, -1] = last
        net.model(input_ids=ids.clone(), attention_mask=torch.ones_like(ids))
    torch.testing.assert_close(seen[0][:, :-1], seen[1][:, :-1], rtol=1e-5, atol=1e-5)
    assert not torch.allclose(seen[0][:, -1], seen[1][:, -1])


@pytest.mark.parametrize(("family", "blocks"), [("bert", 4), ("t5", 4), ("gpt2", 2)])
@pytest.mark.parametrize("reduction", [4, 8])
def test_how_many_parameters_it_has(family, blocks, reduction, tiny_model):
    net = net_of(tiny_model(family, blocks))
    put(net, "ladder", reduction=reduction)
    d, m = 32, 32 // reduction
    block = (3 * m * m + 3 * m) + (m * m + m) + (4 * m * m + 4 * m) + (4 * m * m + m) + 2 * 2 * m
    expected = (blocks + 1) * (d * m + m) + blocks * (block + 1) + 2 * m + (m * d + d)
    assert sizes_of(net, ".ladder.") == expected


def test_of_an_encoder_decoder_the_decoder_has_a_ladder(tiny_model):
    plan = plan_of(net_of(tiny_model("t5")), "ladder")
    assert plan.inserts[0].where == ("transformer.decoder.block",)


def test_the_wrapped_list_is_still_a_list(tiny_model):
    net = net_of(tiny_model("llama"))
    blocks = list(net.model.model.layers)
    put(net, "ladder")
    layers = net.model.model.layers
    assert len(layers) == 4 and list(layers) == blocks and layers[-1] is blocks[3]
    assert list(layers[:2]) == blocks[:2]
    assert net.model.get_submodule("model.layers.2.mlp.down_proj") is blocks[2].mlp.down_proj
    with pytest.raises(AttributeError):
        _ = layers.nonsuch


def test_models_that_it_is_not_for(tiny_model):
    with pytest.raises(MethodError, match="two blocks or more") as caught:
        plan_of(net_of(tiny_model("albert")), "ladder")
    assert caught.value.fix == "take the method 'mlp_head'"
    net = net_of(tiny_model("bert"))
    (chain,) = net.map.chains
    net.map = replace(net.map, chains=(replace(chain, blocks=tuple(replace(b, attention=()) for b in chain.blocks)),))
    with pytest.raises(MethodError, match="it is for blocks that all have attention"):
        plan_of(net, "ladder")
    with pytest.raises(MethodError, match="'Linear' do not take a mask"):
        read_blocks(nn.ModuleList([nn.Linear(8, 8), nn.Linear(8, 8)]), SideNetwork(2, 8, 2))
