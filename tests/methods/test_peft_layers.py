"""The methods that peft inserts at layers: their formulas by hand, what trains and how fast, refusals."""

from __future__ import annotations

from dataclasses import replace
from typing import Any

import numpy as np
import pytest
import torch
from torch.nn import functional

from tunewise.conformance.bench import Bench
from tunewise.data.tokenise import tokenise
from tunewise.engine.apply import choose_trained, insert
from tunewise.engine.optim import Optimizer
from tunewise.engine.peft_folder import merge
from tunewise.engine.settings import TrainConfig
from tunewise.errors import MethodError
from tunewise.methods import METHODS
from tunewise.models.blocks import named_tensors
from tunewise.models.load import Net, load_net
from tunewise.models.locate import locate
from tunewise.types import Plan, Schema, Signals

NAMES = ["lora", "lora_plus", "dora", "pissa", "vera", "oft", "ia3"]
FAMILIES = ["bert", "gpt2", "llama", "t5", "deberta-v2"]  # conformance tries the others
PAIRS = [(family, name) for family in FAMILIES for name in NAMES if (family, name) != ("gpt2", "oft")]
SCHEMA = Schema("classification", ("message",), "label", ("a", "b", "c"))
TEXTS = [("thanks for the parcel",), ("late",), ("my refund is with the courier today",)]
QUERY = "bert.encoder.layer.1.attention.self.query"


def net_of(folder) -> Net:
    return load_net(locate(str(folder), folder), SCHEMA, dropout=0.0)


def plan_of(net: Net, name: str, **options: Any) -> Plan:
    return METHODS[name](METHODS[name].Config(**options)).plan(net.map, Signals())


def put(net: Net, name: str, seed: int = 0, **options: Any) -> dict[str, torch.nn.Parameter]:
    """Applies a method, and returns what trains."""
    plan = plan_of(net, name, **options)
    insert(plan, net, seed)
    return {tensor.name: tensor.parameter for tensor in choose_trained(plan, net)}


def batch_of(net: Net) -> dict[str, torch.Tensor]:
    return tokenise(TEXTS, net.tokenizer, net.max_length).batch([0, 1, 2])


def logits(net: Net) -> torch.Tensor:
    with torch.no_grad():
        return net.model.eval()(**batch_of(net)).logits


def shake(trained: dict[str, torch.nn.Parameter], scale: float = 0.05) -> None:
    """Moves all that trains, as training would."""
    torch.manual_seed(3)
    with torch.no_grad():
        for parameter in trained.values():
            parameter.add_(torch.randn_like(parameter) * scale)


def layer_of(net: Net, path: str) -> torch.nn.Module:
    return net.model.get_base_model().get_submodule(path)


def hidden(width: int = 32) -> torch.Tensor:
    return torch.randn(2, 5, width, generator=torch.Generator().manual_seed(0))


# ---------------------------------------------------------------- every family


@pytest.mark.parametrize(("family", "name"), PAIRS)
def test_it_starts_as_the_base_model_trains_what_it_says_and_merges_exactly(family, name, tiny_model):
    net, base = net_of(tiny_model(family)), net_of(tiny_model(family))
    trained = put(net, name)
    # PiSSA computes the same sum from two parts.
    assert torch.allclose(logits(net), logits(base), rtol=0, atol=1e-5 if name == "pissa" else 0)
    assert {tensor.name for tensor in net.map.head} < set(trained)

    net.model.train()
    net.model(**batch_of(net)).logits.square().sum().backward()
    reached = {key for key, parameter in named_tensors(net.model).items() if parameter.grad is not None}
    assert reached == set(trained)

    shake(trained)
    apart = logits(net)
    assert not torch.allclose(apart, logits(base), atol=1e-3)
    net.model = merge(net.model)
    assert type(net.model) is type(base.model)
    assert {key: tensor.shape for key, tensor in net.model.named_parameters()} == {
        key: tensor.shape for key, tensor in base.model.named_parameters()
    }
    assert torch.allclose(logits(net), apart, rtol=1e-5, atol=1e-5)


@pytest.mark.parametrize("name", ["lora", "dora", "ia3"])
def test_convolutions(name, tmp_path):
    """Running statistics of batch norm stay, so that a loaded model is the trained one (conformance shows that)."""
    net = Bench.make("resnet", tmp_path).net()
    trained = put(net, name)
    inside = {key for key in trained if key not in {tensor.name for tensor in net.map.head}}
    sites = {key.rsplit(".ia3_l" if name == "ia3" else ".lora_", 1)[0] for key in inside}
    assert sites == {path for block in net.map.blocks for path in block.conv} and len(sites) >= 8
    images = torch.rand(4, 3, 16, 16)
    net.model.train()
    for module in net.model.modules():
        if isinstance(module, torch.nn.BatchNorm2d):
            module.eval()
    net.model(pixel_values=images).logits.square().sum().backward()
    assert all(parameter.grad is not None for parameter in trained.values())
    shake(trained)
    with torch.no_grad():
        apart = net.model.eval()(pixel_values=images).logits
        assert torch.allclose(merge(net.model).eval()(pixel_values=images).logits, apart, rtol=1e-4, atol=1e-5)


# ---------------------------------------------------------------- formulas


def test_dora_by_hand(tiny_bert):
    net = net_of(tiny_bert)
    trained = put(net, "dora", rank=4, targets=["query"])
    shake(trained)
    tensors = named_tensors(net.model)
    weight, bias = tensors[f"{QUERY}.weight"], tensors[f"{QUERY}.bias"]
    update = (32 / 4) * tensors[f"{QUERY}.lora_B.weight"] @ tensors[f"{QUERY}.lora_A.weight"]
    magnitude = tensors[f"{QUERY}.lora_magnitude_vector.weight"]
    with torch.no_grad():
        direction = (weight + update) / (weight + update).square().sum(1, keepdim=True).sqrt()
        expected = functional.linear(hidden(), magnitude[:, None] * direction, bias)
        assert torch.allclose(layer_of(net, QUERY)(hidden()), expected, rtol=1e-4, atol=1e-4)


@pytest.mark.parametrize("family", ["bert", "gpt2"])
def test_dora_leaves_layers_alone_in_which_an_output_has_no_weights(family, tiny_model):
    """MobileNetV2 as published has some: DoRA's direction is 0 / 0 there."""
    net = net_of(tiny_model(family))
    path = next(path for path in plan_of(net, "dora").inserts[0].options["target_modules"] if "1." in path)
    weight = net.model.get_submodule(path).weight
    with torch.no_grad():
        (weight.T if family == "gpt2" else weight)[3] = 0
    before = logits(net)
    trained = put(net, "dora")
    assert not any(path in name for name in trained) and any(".lora_magnitude_vector." in name for name in trained)
    assert torch.isfinite(logits(net)).all() and torch.allclose(logits(net), before, atol=1e-5)
    told = next(note for note in net.notes if "no direction" in note)
    assert told.startswith("1 of ") and path in told
    assert path not in net.model.peft_config["default"].target_modules


def test_pissa_by_numpy(tiny_bert):
    weight = named_tensors(net_of(tiny_bert).model)[f"{QUERY}.weight"].detach().double().numpy()
    left, values, right = np.linalg.svd(weight)
    principal = left[:, :4] * values[:4] @ right[:4]
    for options, scale in (({}, 1.0), ({"alpha": 8.0}, 2.0)):
        net = net_of(tiny_bert)
        put(net, "pissa", rank=4, **options)
        tensors = {key: tensor.detach().double().numpy() for key, tensor in named_tensors(net.model).items()}
        first, second = tensors[f"{QUERY}.lora_A.weight"], tensors[f"{QUERY}.lora_B.weight"]
        np.testing.assert_allclose(scale * second @ first, principal, atol=1e-5)
        np.testing.assert_allclose(tensors[f"{QUERY}.weight"], weight - principal, atol=1e-5)
        # Both factors carry the same share: A A' = B' B = S / scale.
        np.testing.assert_allclose(np.diag(first @ first.T), values[:4] / scale, rtol=1e-4)
        np.testing.assert_allclose(np.diag(second.T @ second), values[:4] / scale, rtol=1e-4)


def test_the_fast_decomposition_of_pissa_is_nearly_the_best(tiny_bert):
    best = net_of(tiny_bert)
    put(best, "pissa", rank=4)
    left, start = [], net_of(tiny_bert)
    for net in (best, start):
        if net is start:
            put(net, "pissa", rank=4, iterations=8)
            assert torch.allclose(logits(net), logits(net_of(tiny_bert)), atol=1e-5)
        left.append(float(named_tensors(net.model)[f"{QUERY}.weight"].norm()))
    assert left[0] < left[1] < 1.02 * left[0]


def test_vera_by_hand(tiny_bert):
    net = net_of(tiny_bert)
    trained = put(net, "vera", rank=24, initial=0.3)
    tensors = named_tensors(net.model)
    assert torch.equal(tensors[f"{QUERY}.vera_lambda_d"], torch.full((24,), 0.3))
    assert torch.equal(tensors[f"{QUERY}.vera_lambda_b"], torch.zeros(32))
    shake(trained)
    shared = net.model.base_model
    first, second = shared.vera_A["default"], shared.vera_B["default"]
    assert first.shape == (24, 64) and second.shape == (64, 24)  # as large as the largest layer needs
    for path, inputs, outputs in ((QUERY, 32, 32), ("bert.encoder.layer.2.output.dense", 64, 32)):
        d, b = tensors[f"{path}.vera_lambda_d"], tensors[f"{path}.vera_lambda_b"]
        update = torch.diag(b) @ second[:outputs] @ torch.diag(d) @ first[:, :inputs]
        with torch.no_grad():
            layer = layer_of(net, path).dense if hasattr(layer_of(net, path), "dense") else layer_of(net, path)
            expected = functional.linear(hidden(inputs), tensors[f"{path}.weight"] + update, tensors[f"{path}.bias"])
            assert torch.allclose(layer(hidden(inputs)), expected, rtol=1e-4, atol=1e-4)


def test_vera_s_matrices_follow_its_own_seed(tiny_bert):
    def drawn(seed: int, **options: int) -> torch.Tensor:
        net = net_of(tiny_bert)
        put(net, "vera", seed, rank=8, **options)
        return net.model.base_model.vera_A["default"]

    assert torch.equal(drawn(1), drawn(2))
    assert not torch.equal(drawn(1), drawn(1, projection_seed=5))


def test_oft_turns_inputs_and_keeps_lengths_and_angles(tiny_bert):
    net = net_of(tiny_bert)
    trained = put(net, "oft", block_size=8, targets=["query"])
    shake(trained, 0.3)
    tensors = named_tensors(net.model)
    numbers = tensors[f"{QUERY}.oft_R.weight"].detach().double().numpy()
    assert numbers.shape == (32 / 8, 8 * 7 / 2)
    rotation = np.zeros((32, 32))
    for block, values in enumerate(numbers):
        skew = np.zeros((8, 8))
        skew[np.triu_indices(8, 1)] = values
        skew -= skew.T
        place = slice(8 * block, 8 * block + 8)
        rotation[place, place] = (np.eye(8) - skew) @ np.linalg.inv(np.eye(8) + skew)
    np.testing.assert_allclose(rotation @ rotation.T, np.eye(32), atol=1e-12)
    weight, bias = (tensors[f"{QUERY}.{part}"].detach().double().numpy() for part in ("weight", "bias"))
    candidates = [hidden().double().numpy() @ turned @ weight.T + bias for turned in (rotation, rotation.T)]
    with torch.no_grad():
        got = layer_of(net, QUERY)(hidden()).double().numpy()
    # Q and -Q are as good: which of both a number stands for is peft's affair.
    assert min(np.abs(got - expected).max() for expected in candidates) < 1e-4


def test_terms_of_oft_approximate_a_rotation(tiny_bert):
    """From the exact transform's numbers with the sign turned: peft's two forms have opposite directions."""
    results = []
    for options, sign in (({}, -1.0), ({"terms": 3}, 1.0), ({"terms": 6}, 1.0)):
        net = net_of(tiny_bert)
        trained = put(net, "oft", block_size=8, targets=["query"], **options)
        shake(trained, 0.05)
        with torch.no_grad():
            for name, parameter in trained.items():
                parameter.mul_(sign if "oft_R" in name else 1.0)
        results.append(logits(net))
    exact, few, more = results
    assert 0 < (exact - more).abs().max() < 0.1 * (exact - few).abs().max()


@pytest.mark.parametrize(("size", "taken"), [(16, 16), (12, 8), (500, 32)])
def test_blocks_of_oft_divide_the_input(tiny_bert, size, taken):
    net = net_of(tiny_bert)
    trained = put(net, "oft", block_size=size, targets=["query"])
    assert trained[f"{QUERY}.oft_R.weight"].shape == (32 // taken, taken * (taken - 1) // 2)


@pytest.mark.parametrize(
    ("family", "scaled", "read"),
    [
        ("bert", {"query": 0, "key": 32, "value": 32}, {"output.dense": 64}),
        ("gpt2", {"c_attn": 96}, {"mlp.c_proj": 128}),
        ("llama", {"k_proj": 16, "v_proj": 16}, {"mlp.down_proj": 64}),
        ("modernbert", {"attn.Wqkv": 96}, {"mlp.Wo": 64}),
        ("distilbert", {"k_lin": 32, "v_lin": 32}, {"ffn.lin2": 64}),
        ("deberta-v2", {"key_proj": 32, "value_proj": 32}, {"output.dense": 64}),
        ("mpnet", {"attn.k": 32, "attn.v": 32}, {"output.dense": 64}),
    ],
)
def test_ia3_stands_at_keys_values_and_what_the_feed_forward_closes_with(family, scaled, read, tiny_model):
    net = net_of(tiny_model(family))
    trained = put(net, "ia3")
    sizes = {key.removesuffix(".ia3_l"): tuple(value.shape) for key, value in trained.items() if "ia3_l" in key}
    first = {path: size for path, size in sizes.items() if path.startswith(f"{net.map.blocks[1].path}.")}
    expected = {name: (size, 1) for name, size in scaled.items() if size}
    expected |= {name: (1, size) for name, size in read.items()}
    assert len(first) == len(expected) and len(sizes) == 4 * len(expected)
    for name, size in expected.items():
        assert [found for path, found in first.items() if path.endswith(f".{name}")] == [size], name


def test_ia3_in_t5_scales_both_attentions_of_the_decoder(tiny_model):
    net = net_of(tiny_model("t5"))
    sites = {key for key in put(net, "ia3") if "ia3_l" in key and ".decoder.block.0." in key}
    assert {site.removeprefix("transformer.decoder.block.0.layer.").removesuffix(".ia3_l") for site in sites} == {
        *(
            f"{number}.{attention}.{name}"
            for number, attention in ((0, "SelfAttention"), (1, "EncDecAttention"))
            for name in "kv"
        ),
        "2.DenseReluDense.wo",
    }


def test_ia3_by_hand(tiny_bert):
    net = net_of(tiny_bert)
    shake(put(net, "ia3"))
    tensors, block = named_tensors(net.model), "bert.encoder.layer.1"
    with torch.no_grad():
        key = f"{block}.attention.self.key"
        plain = functional.linear(hidden(), tensors[f"{key}.weight"], tensors[f"{key}.bias"])
        assert torch.allclose(layer_of(net, key)(hidden()), plain * tensors[f"{key}.ia3_l"].flatten(), atol=1e-6)
        close = f"{block}.output.dense"
        scaled = hidden(64) * tensors[f"{close}.ia3_l"].flatten()
        expected = functional.linear(scaled, tensors[f"{close}.weight"], tensors[f"{close}.bias"])
        assert torch.allclose(layer_of(net, close)(hidden(64)), expected, atol=1e-6)


# ---------------------------------------------------------------- rates and decay


def groups_of(net: Net, name: str, **options: Any) -> dict[str, tuple[float, float]]:
    """(peak rate, weight decay) of each tensor that trains."""
    plan = plan_of(net, name, **options)
    insert(plan, net, 0)
    trained = choose_trained(plan, net)
    optimizer = Optimizer(trained, plan.learning_rate, TrainConfig(weight_decay=0.1), total_steps=10)
    names = {id(tensor.parameter): tensor.name for tensor in trained}
    return {
        names[id(parameter)]: (group["peak"], group["weight_decay"])
        for group in optimizer.adamw.param_groups
        for parameter in group["params"]
    }


@pytest.mark.parametrize("ratio", [1.0, 4.0, 16.0])
def test_rates_of_lora_plus_are_those_of_peft(tiny_bert, ratio):
    from peft.optimizers import create_loraplus_optimizer

    net = net_of(tiny_bert)
    ours = groups_of(net, "lora_plus", learning_rate=1e-4, ratio=ratio)
    theirs = create_loraplus_optimizer(net.model, torch.optim.AdamW, lr=1e-4, loraplus_lr_ratio=ratio)
    rates = {id(parameter): group["lr"] for group in theirs.param_groups for parameter in group["params"]}
    updates = {name: parameter for name, parameter in named_tensors(net.model).items() if ".lora_" in name}
    assert len(updates) == 2 * 24
    for name, parameter in updates.items():
        assert ours[name][0] == pytest.approx(rates[id(parameter)], rel=1e-12), name
    assert ours["classifier.weight"][0] == pytest.approx(4e-4)


def test_lora_plus_defaults_lie_around_lora_s(tiny_bert):
    net = net_of(tiny_bert)
    lora = METHODS["lora"].default_learning_rate(net.map)
    rates = {name: rate for name, (rate, _) in groups_of(net, "lora_plus").items()}
    assert rates[f"{QUERY}.lora_A.weight"] == pytest.approx(lora / 4)
    assert rates[f"{QUERY}.lora_B.weight"] == pytest.approx(lora * 4)
    assert rates["classifier.weight"] == pytest.approx(lora)


@pytest.mark.parametrize(
    ("name", "without"),
    [("dora", "lora_magnitude"), ("pissa", ".lora_"), ("vera", "vera_lambda"), ("ia3", "ia3_l")],
)
def test_no_decay_where_zero_is_not_where_it_started(tiny_bert, name, without):
    groups = groups_of(net_of(tiny_bert), name)
    assert {decay for key, (_, decay) in groups.items() if without in key} == {0.0}
    assert groups["classifier.weight"][1] == 0.1
    if name == "dora":
        assert groups[f"{QUERY}.lora_A.weight"][1] == 0.1


@pytest.mark.parametrize("name", NAMES)
def test_output_layers_train_at_lora_s_rate_by_default_and_faster_where_asked(name, tiny_bert):
    net = net_of(tiny_bert)
    for width in (384, 768, 1024):
        model = replace(net.map, width=width)
        plan = METHODS[name](METHODS[name].Config()).plan(model, Signals())
        for tensor in model.head:
            rate = plan.learning_rate * plan.rule_for(tensor.name).lr_scale
            assert rate == pytest.approx(METHODS["lora"].default_learning_rate(model))
    assert plan_of(net, name, head_rate=3.0).rule_for("classifier.weight").lr_scale == 3.0


# ---------------------------------------------------------------- options


@pytest.mark.parametrize("name", ["lora", "lora_plus", "dora", "pissa", "vera"])
def test_dropout_acts_in_training_only(name, tiny_bert):
    net = net_of(tiny_bert)
    shake(put(net, name, dropout=0.5), 0.2)
    assert torch.equal(logits(net), logits(net))
    net.model.train()
    with torch.no_grad():
        first, second = (net.model(**batch_of(net)).logits for _ in range(2))
    assert not torch.allclose(first, second, atol=1e-3)


@pytest.mark.parametrize("name", ["dora", "pissa", "vera", "oft", "lora_plus"])
def test_targets(name, tiny_bert):
    net = net_of(tiny_bert)
    trained = put(net, name, targets=["attention.output.dense"])
    head = {tensor.name for tensor in net.map.head}
    assert {
        key.split(".layer.")[1][2:].startswith("attention.output.dense.") for key in trained if key not in head
    } == {True}


def test_merged_folders_are_said_to_be_so():
    for name in NAMES:
        assert (
            METHODS[name](METHODS[name].Config(merge=True)).merged and not METHODS[name](METHODS[name].Config()).merged
        )
    assert not METHODS["qlora"](METHODS["qlora"].Config()).merged


# ---------------------------------------------------------------- refusals


@pytest.mark.parametrize("name", ["pissa", "vera", "oft", "qlora"])
def test_what_needs_linear_layers_refuses_convolutions(name, tmp_path):
    net = Bench.make("resnet", tmp_path).net()
    with pytest.raises(MethodError, match=f"{name}: the blocks of a 'resnet' model are convolutions") as caught:
        plan_of(net, name)
    assert caught.value.fix == "take the method 'lora'"


def test_oft_refuses_transposed_layers_and_peft_would_too(tiny_model):
    net = net_of(tiny_model("gpt2"))
    with pytest.raises(MethodError, match="oft: peft cannot rotate the linear layers of a 'gpt2' model"):
        plan_of(net, "oft")
    bert = net_of(tiny_model("bert"))
    plan = plan_of(bert, "oft")
    (oft,) = plan.inserts
    forced = replace(oft, options={**oft.options, "target_modules": ["c_attn"]})
    with pytest.raises(MethodError, match="peft cannot put OFTConfig into a 'gpt2' model"):
        insert(replace(plan, inserts=(forced,)), net, 0)


def test_pissa_refuses_a_rank_that_a_layer_has_not(tiny_bert):
    net = net_of(tiny_bert)
    plan_of(net, "pissa", rank=32)
    with pytest.raises(MethodError, match="rank is 33, but the smallest layer has 32 singular values"):
        plan_of(net, "pissa", rank=33)


def test_ia3_refuses_attention_whose_parts_it_cannot_tell(tiny_bert):
    model = net_of(tiny_bert).map
    (chain,) = model.chains
    blocks = tuple(
        replace(block, linear=tuple(path.replace("key", "mix").replace("value", "blend") for path in block.linear))
        for block in chain.blocks
    )
    strange = replace(model, chains=(replace(chain, blocks=blocks),))
    with pytest.raises(MethodError, match="ia3: cannot tell which layers of a 'bert' model make keys and values"):
        METHODS["ia3"](METHODS["ia3"].Config()).plan(strange, Signals())
