from __future__ import annotations

from dataclasses import replace

import pytest
import torch
from additive_bench import batch_of, logits_of, net_of, plan_of, put, sizes_of
from pydantic import ValidationError

from tunewise.engine.apply import choose_trained, insert
from tunewise.engine.optim import Optimizer
from tunewise.engine.settings import TrainConfig
from tunewise.errors import MethodError
from tunewise.methods import METHODS
from tunewise.models.blocks import named_tensors


@pytest.mark.parametrize(("count", "places"), [(1, [3]), (2, [1, 3]), (3, [0, 1, 3]), (4, [0, 1, 2, 3])])
def test_copies_stand_at_even_distances_and_behind_the_top_block(count, places, tiny_bert):
    plan = plan_of(net_of(tiny_bert), "inserted_blocks", count=count)
    assert [path for insert in plan.inserts for path in insert.where] == [f"bert.encoder.layer.{n}" for n in places]


def test_of_an_encoder_decoder_both_halves_get_copies(tiny_model):
    plan = plan_of(net_of(tiny_model("t5")), "inserted_blocks")
    assert {insert.where: insert.options["attention"] for insert in plan.inserts} == {
        ("transformer.encoder.block.3",): ["layer.0.SelfAttention.o"],
        ("transformer.decoder.block.3",): ["layer.0.SelfAttention.o", "layer.1.EncDecAttention.o"],
    }


@pytest.mark.parametrize("family", ["bert", "llama", "gpt2", "t5"])
@pytest.mark.parametrize("gate", [1.0, 0.25])
def test_a_gate_mixes_the_block_with_itself_run_twice(gate, family, tiny_model):
    """With the gate at 1, a fresh copy is the block once more, in pre-norm and post-norm models."""
    net, twice = net_of(tiny_model(family)), net_of(tiny_model(family))
    put(net, "inserted_blocks", count=1)
    path = net.map.blocks[-1].path
    with torch.no_grad():
        named_tensors(net.model)[f"{path}.inserted_gate"].fill_(gate)
    block, inputs, seen = twice.model.get_submodule(path), [], []
    block.register_forward_pre_hook(lambda m, args, kwargs: inputs.append((args, kwargs)), with_kwargs=True)
    net.model.get_submodule(path).register_forward_hook(lambda m, args, output: seen.append(output))
    twice.model.eval(), net.model.eval()
    with torch.no_grad():
        twice.model(**batch_of(twice))
        net.model(**batch_of(net))
        (args, kwargs), first = inputs[0], lambda out: out if isinstance(out, torch.Tensor) else out[0]
        once = block(*args, **kwargs)
        again = first(block(first(once), *args[1:], **kwargs))
        expected = first(once) + gate * (again - first(once))
    torch.testing.assert_close(first(seen[0]), expected, rtol=1e-5, atol=1e-5)
    assert type(seen[0]) is type(once) and (isinstance(once, torch.Tensor) or len(seen[0]) == len(once))


def test_a_copy_without_output_projections_is_the_identity_in_pre_norm_models_only(tiny_model):
    """Why there is a gate: the start that the literature takes changes what a post-norm model says."""
    change = {}
    for family in ("llama", "bert"):
        net = net_of(tiny_model(family))
        with torch.no_grad():  # norms as training leaves them: with fresh ones, to normalise twice is to do it once
            for block in net.map.blocks:
                for tensor in (tensor for tensor in block.tensors if tensor.kind == "norm"):
                    named_tensors(net.model)[tensor.name].mul_(torch.linspace(0.3, 1.5, 32))
        before = logits_of(net)
        put(net, "inserted_blocks", count=1)
        top, tensors = net.map.blocks[-1], named_tensors(net.model)
        with torch.no_grad():
            tensors[f"{top.path}.inserted_gate"].fill_(1.0)
            for end in (*top.attention, *top.feed_forward):
                copied = end.replace(top.path, f"{top.path}.inserted")
                for name in tensors.keys() & {f"{copied}.weight", f"{copied}.bias"}:
                    tensors[name].zero_()
        change[family] = float((logits_of(net) - before).abs().max())
    assert change["llama"] < 1e-5 < 1e-2 < change["bert"]


@pytest.mark.parametrize("family", ["bert", "modernbert"])
def test_the_copies_hold_what_their_blocks_hold_and_nothing_is_shared(family, tiny_model):
    net = net_of(tiny_model(family))
    sizes = [sum(tensor.size for tensor in block.tensors) for block in net.map.blocks]
    trained = put(net, "inserted_blocks")
    tensors = named_tensors(net.model)
    assert sizes_of(net, ".inserted.") == sizes[1] + sizes[3]
    for name in (name for name in trained if ".inserted." in name):
        own = tensors[name.replace(".inserted.", ".")]
        assert torch.equal(tensors[name], own) and tensors[name].data_ptr() != own.data_ptr()
        assert not own.requires_grad


def test_gates_have_a_rate_of_their_own_and_no_decay(tiny_bert):
    net = net_of(tiny_bert)
    plan = plan_of(net, "inserted_blocks", gate_rate=7.0, learning_rate=1e-3)
    insert(plan, net, 0)
    optimizer = Optimizer(choose_trained(plan, net), plan.learning_rate, TrainConfig(weight_decay=0.1), 10)
    gates = {id(tensor) for name, tensor in named_tensors(net.model).items() if name.endswith("inserted_gate")}
    groups = [group for group in optimizer.adamw.param_groups if any(id(p) in gates for p in group["params"])]
    assert len(gates) == 2 and [(len(g["params"]), g["weight_decay"]) for g in groups] == [(2, 0.0)]
    assert groups[0]["peak"] == pytest.approx(7e-3)


def test_below_the_first_copy_the_model_is_in_eval_mode(tiny_bert):
    net = net_of(tiny_bert)
    put(net, "inserted_blocks")
    layers = net.model.bert.encoder.layer
    assert not layers[0].training and layers[1].training and layers[1].inserted.training and layers[2].training
    assert not net.model.bert.embeddings.training


def test_models_that_it_is_not_for(tiny_bert):
    net = net_of(tiny_bert)
    with pytest.raises(MethodError, match="count is 5, but the model has 4 blocks") as caught:
        plan_of(net, "inserted_blocks", count=5)
    assert caught.value.fix == "set count between 1 and 4"
    (chain,) = net.map.chains
    net.map = replace(net.map, chains=(replace(chain, blocks=tuple(replace(b, attention=()) for b in chain.blocks)),))
    with pytest.raises(MethodError, match="cannot tell that each block of a 'bert' model"):
        plan_of(net, "inserted_blocks")


@pytest.mark.parametrize("options", [{"count": 0}, {"gate_rate": 0}, {"where": "top"}])
def test_wrong_options(options):
    with pytest.raises(ValidationError):
        METHODS["inserted_blocks"].Config.model_validate(options)
