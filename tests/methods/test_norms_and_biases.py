"""norms, output_norm, bitfit: exactly which tensors, against torch's own modules and the counts of the papers."""

from __future__ import annotations

from dataclasses import replace

import pytest
import torch
from torch import nn
from transformers import (
    AutoModelForSequenceClassification,
    BertConfig,
    ResNetConfig,
    ResNetForImageClassification,
    ViTConfig,
    ViTForImageClassification,
)

from tunewise.errors import MethodError
from tunewise.methods import METHODS
from tunewise.models.blocks import map_model
from tunewise.models.load import load_net
from tunewise.models.locate import locate
from tunewise.types import ModelMap, Schema, Signals

SCHEMA = Schema("classification", ("message",), "label", ("a", "b", "c"))
FAMILIES = ["bert", "roberta", "distilbert", "modernbert", "gpt2", "llama", "t5", "deberta-v2", "albert"]


def net_of(folder):
    return load_net(locate(str(folder), folder), SCHEMA)


def trained(model: ModelMap, name: str) -> set[str]:
    """Names that train, but for the head's."""
    plan = METHODS[name](METHODS[name].Config()).plan(model, Signals())
    head = {tensor.name for tensor in model.head}
    names = {tensor.name for tensor in model.tensors if plan.rule_for(tensor.name)}
    assert head <= names
    return names - head


def owned_by_norms(model: nn.Module) -> set[str]:
    """Parameters of torch's norms, and of RMSNorms, which transformers writes for each family anew."""
    return {
        f"{path}.{name}"
        for path, module in model.named_modules()
        if isinstance(module, (nn.LayerNorm, nn.BatchNorm2d))
        or "RMSNorm" in type(module).__name__
        or "T5LayerNorm" in type(module).__name__
        for name, _ in module.named_parameters(recurse=False)
    }


@pytest.mark.parametrize("family", FAMILIES)
def test_norms_are_all_norms(tiny_model, family):
    net = net_of(tiny_model(family))
    found = owned_by_norms(net.model) - {tensor.name for tensor in net.map.head}
    assert trained(net.map, "norms") == found and len(found) >= 4


@pytest.mark.parametrize("family", ["bert", "roberta", "distilbert", "gpt2", "deberta-v2", "albert"])
def test_bitfit_is_every_bias(tiny_model, family):
    net = net_of(tiny_model(family))
    biases = {name for name, _ in net.model.named_parameters() if name.endswith(".bias")}
    assert trained(net.map, "bitfit") == biases - {tensor.name for tensor in net.map.head}


@pytest.mark.parametrize("family", ["llama", "t5", "modernbert"])
def test_bitfit_where_there_are_no_biases(tiny_model, family):
    with pytest.raises(MethodError, match=f"bitfit: the blocks of this '{family}' model have no biases") as caught:
        trained(net_of(tiny_model(family)).map, "bitfit")
    assert caught.value.fix == "take the method 'norms'"


@pytest.mark.parametrize(
    ("family", "last"),
    [
        ("bert", "output.LayerNorm"),
        ("roberta", "output.LayerNorm"),
        ("deberta-v2", "output.LayerNorm"),
        ("mpnet", "output.LayerNorm"),
        ("distilbert", "output_layer_norm"),
        ("albert", "albert_layers.0.full_layer_layer_norm"),  # registered before the attention's
        ("gpt2", "ln_2"),
        ("llama", "post_attention_layernorm"),
        ("modernbert", "mlp_norm"),
    ],
)
def test_the_output_norm(tiny_model, family, last):
    model = net_of(tiny_model(family)).map
    ends = ("weight",) if family in ("llama", "modernbert") else ("weight", "bias")
    assert trained(model, "output_norm") == {f"{block.path}.{last}.{end}" for block in model.blocks for end in ends}


def test_the_output_norm_of_encoder_and_decoder(tiny_model):
    model = net_of(tiny_model("t5")).map
    encoder = {f"transformer.encoder.block.{n}.layer.1.layer_norm.weight" for n in range(4)}
    decoder = {f"transformer.decoder.block.{n}.layer.2.layer_norm.weight" for n in range(4)}
    assert trained(model, "output_norm") == encoder | decoder


def test_the_counts_of_bert_base():
    """38,400 and 18,432 in ValizadehAslani and Liang; 0.09% of the model in BitFit (12 blocks x 8,448 + 768)."""
    with torch.device("meta"):
        model = map_model(AutoModelForSequenceClassification.from_config(BertConfig()))
    size = {tensor.name: tensor.size for tensor in model.tensors}
    counts = {name: sum(size[each] for each in trained(model, name)) for name in ("norms", "output_norm", "bitfit")}
    assert counts == {"norms": 38_400, "output_norm": 18_432, "bitfit": 12 * 8_448 + 768}


def test_image_models():
    sizes = {"embedding_size": 8, "hidden_sizes": [8, 16], "depths": [1, 1]}
    resnet = ResNetForImageClassification(ResNetConfig(**sizes, layer_type="basic"))
    found = trained(map_model(resnet), "norms")
    assert found == owned_by_norms(resnet) and "resnet.embedder.embedder.normalization.weight" in found
    assert trained(map_model(resnet), "bitfit") == {name for name in found if name.endswith("bias")}
    assert trained(map_model(resnet), "output_norm") == {
        f"resnet.encoder.stages.{stage}.layers.0.layer.1.normalization.{end}"
        for stage in (0, 1)
        for end in ("weight", "bias")
    }
    config = ViTConfig(
        hidden_size=16, num_hidden_layers=2, num_attention_heads=2, intermediate_size=32, image_size=8, patch_size=4
    )
    vit = map_model(ViTForImageClassification(config))
    last = trained(vit, "output_norm")
    assert {name.rpartition(".")[0].rpartition(".")[2] for name in last} == {"layernorm_after"} and len(last) == 4


def test_norms_without_weights(tiny_model):
    """As in OLMo."""
    model = net_of(tiny_model("gpt2")).map
    bare = ModelMap("olmo", 32, chains=tuple(map(without_norms, model.chains)), head=())
    for name in ("norms", "output_norm"):
        with pytest.raises(MethodError, match=f"{name}: .*norm.* 'olmo'") as caught:
            trained(bare, name)
        assert caught.value.fix == "take the method 'last_k'"


def without_norms(chain):
    blocks = tuple(
        replace(block, tensors=tuple(tensor for tensor in block.tensors if tensor.kind != "norm"))
        for block in chain.blocks
    )
    return replace(chain, blocks=blocks)


def test_default_rates():
    model = ModelMap("bert", 768, (), ())
    for name in ("norms", "output_norm", "bitfit"):
        assert METHODS[name].default_learning_rate(model) == pytest.approx(1e-3)
        assert METHODS[name].default_learning_rate(ModelMap("bert", 384, (), ())) == pytest.approx(2e-3)
        assert METHODS[name].default_learning_rate(ModelMap("bert", 64, (), ())) == pytest.approx(3e-3)
