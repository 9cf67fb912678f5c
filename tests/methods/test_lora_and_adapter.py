from __future__ import annotations

import math

import pytest
import torch
from torch import nn

from tunewise.data.tokenise import tokenise
from tunewise.engine.apply import choose_trained, insert
from tunewise.errors import MethodError
from tunewise.methods import METHODS
from tunewise.methods.adapter import with_bottleneck
from tunewise.models.blocks import named_tensors
from tunewise.models.load import load_net
from tunewise.models.locate import locate
from tunewise.types import Schema, Signals

SCHEMA = Schema("classification", ("message",), "label", ("a", "b", "c"))
FAMILIES = [
    "bert",
    "roberta",
    "distilbert",
    "gpt2",
    "llama",
    "modernbert",
    "deberta-v2",
    "electra",
    "albert",
    "mpnet",
    "t5",
]
TEXTS = [("thanks for the parcel",), ("late",), ("my refund is with the courier today",)]


def net_of(folder):
    return load_net(locate(str(folder), folder), SCHEMA)


def plan_of(net, name: str, **options):
    return METHODS[name](METHODS[name].Config(**options)).plan(net.map, Signals())


def with_method(folder, name: str, **options):
    """A net with the method applied, and the names of what trains."""
    net = net_of(folder)
    plan = plan_of(net, name, **options)
    insert(plan, net, seed=0)
    return net, {tensor.name for tensor in choose_trained(plan, net)}


def logits(net) -> torch.Tensor:
    batch = tokenise(TEXTS, net.tokenizer, net.max_length).batch([0, 1, 2])
    with torch.no_grad():
        return net.model.eval()(**batch).logits


def targets(net, **options) -> list[str]:
    return plan_of(net, "lora", **options).inserts[0].options["target_modules"]


# ---------------------------------------------------------------- both


@pytest.mark.parametrize("family", FAMILIES)
@pytest.mark.parametrize("name", ["lora", "adapter"])
def test_the_model_starts_unchanged_bit_for_bit(name, family, tiny_model):
    net, _ = with_method(tiny_model(family), name)
    assert torch.equal(logits(net), logits(net_of(tiny_model(family))))


@pytest.mark.parametrize("family", FAMILIES)
@pytest.mark.parametrize("name", ["lora", "adapter"])
def test_everything_that_is_said_to_train_gets_gradients_and_the_rest_none(name, family, tiny_model):
    """RoBERTa's head once trained in a copy that no forward pass used."""
    net, trained = with_method(tiny_model(family), name)
    head = {tensor.name for tensor in net.map.head}
    assert head <= trained
    batch = tokenise(TEXTS, net.tokenizer, net.max_length).batch([0, 1, 2])
    net.model(**batch).logits.square().sum().backward()
    reached = {name for name, parameter in named_tensors(net.model).items() if parameter.grad is not None}
    assert reached == trained
    parameters = list(net.model.named_parameters())
    assert {id(parameter) for _, parameter in parameters if parameter.requires_grad} == {
        id(parameter) for name, parameter in named_tensors(net.model).items() if name in trained
    }


# ---------------------------------------------------------------- lora


def test_lora_targets(tiny_bert, tiny_model):
    net = net_of(tiny_bert)
    stem = "bert.encoder.layer"
    attention = ("attention.self.query", "attention.self.key", "attention.self.value", "attention.output.dense")
    assert targets(net, targets="attention") == [f"{stem}.{n}.{name}" for n in range(4) for name in attention]
    feed_forward = ("intermediate.dense", "output.dense")
    assert targets(net, targets="feed-forward") == [f"{stem}.{n}.{name}" for n in range(4) for name in feed_forward]
    assert set(targets(net)) == {*targets(net, targets="attention"), *targets(net, targets="feed-forward")}
    assert targets(net, targets=["query", "attention.self.value"]) == [
        f"{stem}.{n}.attention.self.{name}" for n in range(4) for name in ("query", "value")
    ]
    assert targets(net, targets=[f"{stem}.1.output.dense"]) == [f"{stem}.1.output.dense"]
    gpt2 = net_of(tiny_model("gpt2"))
    assert targets(gpt2, targets="attention") == [
        f"transformer.h.{n}.attn.{name}" for n in range(4) for name in ("c_attn", "c_proj")
    ]


@pytest.mark.parametrize("name", ["q_proj", "quer", "self", "uery", "LayerNorm", ""])
def test_lora_targets_that_are_not_there(tiny_bert, name):
    with pytest.raises(
        MethodError, match=f"no layer of the model that it can update matches targets: \\['{name}'\\]"
    ) as caught:
        targets(net_of(tiny_bert), targets=[name])
    assert "query" in caught.value.fix and "all-linear" in caught.value.fix


def test_lora_puts_an_update_exactly_at_its_targets_even_with_twelve_blocks(tiny_model):
    net, trained = with_method(tiny_model("bert", 12), "lora", targets=["layer.1.output.dense"], rank=3)
    updates = {name for name in trained if ".lora_" in name}
    stem = "bert.encoder.layer.1.output.dense"
    assert updates == {f"{stem}.lora_A.weight", f"{stem}.lora_B.weight"}
    tensors = named_tensors(net.model)
    assert tensors[f"{stem}.lora_A.weight"].shape == (3, 64) and tensors[f"{stem}.lora_B.weight"].shape == (32, 3)


@pytest.mark.parametrize(("rank", "scale"), [(4, 32 / 4), (63, 32 / 63), (64, 32 / math.sqrt(64))])
def test_the_update_is_alpha_over_r_and_over_its_root_from_64_on(tiny_bert, rank, scale):
    net, _ = with_method(tiny_bert, "lora", rank=rank, targets=["query"])
    layer = net.model.get_submodule("base_model.model.bert.encoder.layer.2.attention.self.query")
    tensors, name = named_tensors(net.model), "bert.encoder.layer.2.attention.self.query"
    down, up = tensors[f"{name}.lora_A.weight"], tensors[f"{name}.lora_B.weight"]
    hidden = torch.randn(5, 32, generator=torch.Generator().manual_seed(0))
    with torch.no_grad():
        up.normal_(generator=torch.Generator().manual_seed(1))
        weight, bias = tensors[f"{name}.weight"], tensors[f"{name}.bias"]
        expected = hidden @ (weight + scale * up @ down).T + bias
        assert torch.allclose(layer(hidden), expected, rtol=1e-4, atol=1e-4)


def test_lora_values_follow_the_seed(tiny_bert):
    def drawn(seed: int) -> torch.Tensor:
        net = net_of(tiny_bert)
        insert(plan_of(net, "lora"), net, seed)
        return named_tensors(net.model)["bert.encoder.layer.0.output.dense.lora_A.weight"]

    assert torch.equal(drawn(1), drawn(1)) and not torch.equal(drawn(1), drawn(2))


# ---------------------------------------------------------------- adapter


@pytest.mark.parametrize(
    ("options", "places"),
    [({}, ("attention.output.dense", "output.dense")), ({"placement": "feed-forward"}, ("output.dense",))],
)
def test_adapter_placements(tiny_bert, options, places):
    net, trained = with_method(tiny_bert, "adapter", norms=False, **options)
    ends = {name.rpartition(".adapter_down.")[0] for name in trained if ".adapter_down." in name}
    assert ends == {f"bert.encoder.layer.{n}.{place}" for n in range(4) for place in places}
    assert trained - {tensor.name for tensor in net.map.head} == {
        f"{end}.adapter_{part}.{kind}" for end in ends for part in ("down", "up") for kind in ("weight", "bias")
    }


def test_adapters_train_norms_of_blocks_where_asked(tiny_bert):
    _, trained = with_method(tiny_bert, "adapter")
    norms = {name for name in trained if "LayerNorm" in name}
    assert len(norms) == 4 * 2 * 2 and all(".layer." in name for name in norms)


def test_adapter_size_is_an_eighth_of_the_width_or_as_given(tiny_bert):
    for options, size in (({}, 4), ({"size": 7}, 7)):
        net, _ = with_method(tiny_bert, "adapter", **options)
        tensors = named_tensors(net.model)
        assert tensors["bert.encoder.layer.0.output.dense.adapter_down.weight"].shape == (size, 32)
        assert tensors["bert.encoder.layer.0.output.dense.adapter_up.weight"].shape == (32, size)


@pytest.mark.parametrize("activation", ["gelu", "relu"])
def test_a_bottleneck_is_what_its_formula_says(activation):
    torch.manual_seed(0)
    layer = nn.Linear(6, 10)
    wrapped = with_bottleneck(layer, size=3, activation=activation)
    hidden = torch.randn(4, 6)
    assert torch.equal(wrapped(hidden), layer(hidden))
    nn.init.normal_(wrapped.adapter_up.weight)
    nn.init.normal_(wrapped.adapter_up.bias)
    act = {"gelu": nn.GELU(), "relu": nn.ReLU()}[activation]
    out = layer(hidden)
    down = act(out @ wrapped.adapter_down.weight.T + wrapped.adapter_down.bias)
    assert torch.allclose(wrapped(hidden), out + down @ wrapped.adapter_up.weight.T + wrapped.adapter_up.bias)


def test_adapters_need_to_know_where_a_half_ends(tiny_bert):
    from dataclasses import replace

    net = net_of(tiny_bert)
    (chain,) = net.map.chains
    for half, options in (("attention", {}), ("feed_forward", {"placement": "feed-forward"})):
        blocks = tuple(replace(block, **{half: ()}) for block in chain.blocks)
        blind = replace(net.map, chains=(replace(chain, blocks=blocks),))
        with pytest.raises(MethodError, match=f"where the {half.replace('_', '-')} .* ends"):
            METHODS["adapter"](METHODS["adapter"].Config(**options)).plan(blind, Signals())
