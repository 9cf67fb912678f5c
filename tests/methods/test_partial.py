"""Partial fine-tuning: which tensors train, in each kind of model; what is refused."""

from __future__ import annotations

import pytest
from transformers import ResNetConfig, ResNetForImageClassification, ViTConfig, ViTForImageClassification

from tunewise.errors import MethodError
from tunewise.methods import METHODS
from tunewise.models.blocks import map_model
from tunewise.models.load import load_net
from tunewise.models.locate import locate
from tunewise.types import ModelMap, Plan, Schema, Signals

SCHEMA = Schema("classification", ("message",), "label", ("a", "b", "c"))


def text_map(folder) -> ModelMap:
    return load_net(locate(str(folder), folder), SCHEMA).map


@pytest.fixture(scope="module")
def vit() -> ModelMap:
    config = ViTConfig(
        hidden_size=16, num_hidden_layers=3, num_attention_heads=2, intermediate_size=32, image_size=8, patch_size=4
    )
    return map_model(ViTForImageClassification(config))


@pytest.fixture(scope="module")
def resnet() -> ModelMap:
    sizes = {"embedding_size": 8, "hidden_sizes": [8, 16], "depths": [2, 2]}
    return map_model(ResNetForImageClassification(ResNetConfig(**sizes, layer_type="basic")))


def plan_of(model: ModelMap, name: str, **options) -> Plan:
    return METHODS[name](METHODS[name].Config(**options)).plan(model, Signals())


def trained(model: ModelMap, name: str, **options) -> set[str]:
    plan = plan_of(model, name, **options)
    return {tensor.name for tensor in model.tensors if plan.rule_for(tensor.name)}


def head(model: ModelMap) -> set[str]:
    return {tensor.name for tensor in model.head}


def inside(model: ModelMap, *numbers: int) -> set[str]:
    return {tensor.name for number in numbers for tensor in model.blocks[number].tensors}


# ---------------------------------------------------------------- attention, feed_forward


@pytest.mark.parametrize("family", ["bert", "roberta", "distilbert", "modernbert", "gpt2", "llama", "t5", "mpnet"])
def test_halves_share_nothing_and_leave_only_norms(tiny_model, family):
    model = text_map(tiny_model(family))
    attention, feed_forward = trained(model, "attention"), trained(model, "feed_forward")
    assert attention & feed_forward == head(model)
    left = inside(model, *range(len(model.blocks))) - attention - feed_forward
    assert left == {t.name for block in model.blocks for t in block.tensors if t.kind == "norm"}
    assert not {tensor.name for tensor in model.embedding} & (attention | feed_forward)
    for block in model.blocks:
        assert inside(model, block.index) & attention and inside(model, block.index) & feed_forward


def test_the_relative_positions_of_t5_belong_to_its_attention(tiny_model):
    names = trained(text_map(tiny_model("t5")), "attention")
    assert {name.split(".")[1] for name in names if "relative_attention_bias" in name} == {"encoder", "decoder"}


def test_a_half_of_chosen_blocks(tiny_bert):
    model = text_map(tiny_bert)
    names = trained(model, "feed_forward", blocks=[1, 3]) - head(model)
    assert names == {
        f"bert.encoder.layer.{block}.{module}.dense.{end}"
        for block in (1, 3)
        for module in ("intermediate", "output")
        for end in ("weight", "bias")
    }
    top = trained(model, "attention", blocks="last", count=1) - head(model)
    assert len(top) == 8 and all(name.startswith("bert.encoder.layer.3.attention.") for name in top)


def test_halves_of_a_vision_transformer(vit):
    attention, feed_forward = trained(vit, "attention"), trained(vit, "feed_forward")
    assert attention & feed_forward == head(vit)
    assert len(attention - head(vit)) == 3 * 8 and len(feed_forward - head(vit)) == 3 * 4
    assert all("attention" in name for name in attention - head(vit))


@pytest.mark.parametrize(("name", "what"), [("attention", "attention"), ("feed_forward", "feed-forward half")])
def test_a_convolutional_net_has_no_halves(resnet, name, what):
    with pytest.raises(MethodError, match=f"{name}: the blocks of a 'resnet' model have no {what}") as caught:
        plan_of(resnet, name)
    assert caught.value.fix == "take the method 'blocks'"


# ---------------------------------------------------------------- blocks


@pytest.mark.parametrize(
    ("options", "numbers"),
    [
        ({}, (1, 2)),  # the middle third of 4 blocks, rounded up
        ({"blocks": "first", "count": 1}, (0,)),
        ({"blocks": "last", "count": 3}, (1, 2, 3)),
        ({"blocks": [0, 3]}, (0, 3)),
        ({"blocks": "all"}, (0, 1, 2, 3)),
    ],
)
def test_blocks(tiny_model, resnet, options, numbers):
    for model in (text_map(tiny_model("bert")), text_map(tiny_model("gpt2")), resnet):
        assert len(model.blocks) == 4
        assert trained(model, "blocks", **options) == inside(model, *numbers) | head(model)


def test_block_1_is_not_block_11(tiny_model):
    model = text_map(tiny_model("bert", 12))
    assert trained(model, "blocks", blocks=[1]) == inside(model, 1) | head(model)
    assert trained(model, "attention", blocks=[1]) <= inside(model, 1) | head(model)
    assert trained(model, "blocks", blocks="last", count=2) == inside(model, 10, 11) | head(model)


def test_last_k_of_a_convolutional_net(resnet):
    assert trained(resnet, "last_k", k=1) == inside(resnet, 3) | head(resnet)


# ---------------------------------------------------------------- pattern


def test_pattern_without_options_is_full(tiny_bert):
    model = text_map(tiny_bert)
    assert trained(model, "pattern") == {tensor.name for tensor in model.tensors}


def test_patterns_and_the_output_layers(tiny_bert):
    model = text_map(tiny_bert)
    queries = {f"bert.encoder.layer.{n}.attention.self.query.weight" for n in range(4)}
    assert trained(model, "pattern", train=["*.query.weight"]) == queries | head(model)
    assert trained(model, "pattern", train=["*.query.weight"], head=False) == queries


def test_patterns_with_rates_of_their_own(tiny_bert):
    model = text_map(tiny_bert)
    plan = plan_of(model, "pattern", train={"*.layer.1.*": 0.5, "*.LayerNorm.*": 10, "classifier.weight": 3})
    rates = {tensor.name: rule.lr_scale for tensor in model.tensors if (rule := plan.rule_for(tensor.name))}
    assert rates["bert.encoder.layer.1.output.LayerNorm.bias"] == 0.5  # the first pattern that matches decides
    assert rates["bert.encoder.layer.0.output.LayerNorm.bias"] == rates["bert.embeddings.LayerNorm.weight"] == 10
    assert rates["classifier.weight"] == 3 and rates["classifier.bias"] == 1
    assert "bert.encoder.layer.0.output.dense.weight" not in rates


@pytest.mark.parametrize(
    ("pattern", "near"),
    [
        ("*.atention.self.query.*", "bert.encoder.layer.0.attention.self.query.weight"),
        ("*embedings*", "bert.embeddings."),
        ("bert.encoder.layers.2.*", "bert.encoder.layer.2."),
        ("clasifier.weight", "classifier.weight"),
    ],
)
def test_a_pattern_that_matches_nothing_names_what_is_near(tiny_bert, pattern, near):
    with pytest.raises(MethodError, match="no tensor of the model has a name that matches") as caught:
        plan_of(text_map(tiny_bert), "pattern", train=["classifier.*", pattern])
    assert pattern in caught.value.what
    assert caught.value.fix.startswith(f"the nearest names are {near}")


def test_a_pattern_behind_one_that_takes_all_decides_nothing(tiny_bert):
    with pytest.raises(MethodError, match=r"'\*\.LayerNorm\.\*' decides nothing") as caught:
        plan_of(text_map(tiny_bert), "pattern", train={"*": 1, "*.LayerNorm.*": 10})
    assert caught.value.fix == "put it before them, or remove it"


# ---------------------------------------------------------------- rates


@pytest.mark.parametrize("name", ["full", "last_k", "blocks", "attention", "feed_forward", "layerwise", "gradual"])
def test_every_method_that_takes_a_head_rate_gives_it_to_the_output_layers_alone(tiny_bert, name):
    model = text_map(tiny_bert)
    plain, other = plan_of(model, name, head_rate=1), plan_of(model, name, head_rate=20)
    assert plain.learning_rate == other.learning_rate
    for tensor in model.tensors:
        before, after = plain.rule_for(tensor.name), other.rule_for(tensor.name)
        factor = 20 if tensor.name in head(model) else 1
        assert (before and before.lr_scale * factor) == (after and after.lr_scale), tensor.name


def test_default_rates_grow_as_less_is_trained(tiny_bert):
    model = text_map(tiny_bert)
    rate = {name: METHODS[name].default_learning_rate(model) for name in METHODS if METHODS[name].descends}
    assert rate["full"] == rate["pattern"] == rate["lp_ft"] < rate["feed_forward"] < rate["attention"]
    assert rate["attention"] < rate["blocks"] == rate["last_k"] < rate["head"]
    assert rate["attention"] == 2 * rate["full"]
