from __future__ import annotations

import pytest
import torch
from torch import nn
from torch.utils.flop_counter import FlopCounterMode

from tunewise.data.tokenise import tokenise
from tunewise.engine.apply import choose_trained, insert
from tunewise.methods import find_method
from tunewise.models.blocks import map_model
from tunewise.models.cost import StepFlops, watch_flops
from tunewise.models.load import load_net
from tunewise.models.locate import locate
from tunewise.types import Chain, ModelMap, Signals

PLANS = [
    ("full", {}),
    ("head", {}),
    ("last_k", {"k": 2}),
    ("lora", {}),
    ("lora", {"targets": "attention"}),
    ("adapter", {}),
    ("adapter", {"placement": "feed-forward", "norms": False}),
    ("inserted_blocks", {}),
]


def planned(folder, data, method: str, options: dict, attention: str | None = "eager"):
    net = load_net(locate(str(folder), folder), data.schema, attention=attention)
    kind = find_method(method)
    plan = kind(kind.Config(**options)).plan(net.map, Signals())
    insert(plan, net, 0)
    choose_trained(plan, net)
    return net, tokenise(data.splits["train"].texts, net.tokenizer, net.max_length)


def check(net, tokens, rows: range, flops: StepFlops | None = None) -> StepFlops:
    """Our count equals torch's, forward and backward."""
    batch = tokens.batch(rows)
    with watch_flops(net.model, net.map) as watched, FlopCounterMode(display=False) as forward:
        logits = net.model(**batch).logits
    with FlopCounterMode(display=False) as backward:
        logits.sum().backward()
    flops = flops or watched
    shape = batch["input_ids"].shape
    assert flops.forward(*shape) == forward.get_total_flops()
    assert flops.backward(*shape) == backward.get_total_flops()
    return flops


@pytest.mark.parametrize("family", ["bert", "gpt2", "llama"])
@pytest.mark.parametrize(("method", "options"), PLANS)
def test_flops_are_those_that_torch_counts(family, method, options, tiny_model, toy_data):
    net, tokens = planned(tiny_model(family), toy_data(), method, options)
    flops = check(net, tokens, range(5))
    check(net, tokens, range(7, 10), flops)  # what one step showed holds for batches of other shapes


@pytest.mark.parametrize("family", ["roberta", "distilbert", "modernbert", "albert", "mpnet", "t5"])
@pytest.mark.parametrize("method", ["full", "lora"])
def test_flops_of_other_families(family, method, tiny_model, toy_data):
    net, tokens = planned(tiny_model(family), toy_data(), method, {})
    check(net, tokens, range(5))


def test_a_head_costs_nothing_backward_in_the_blocks(tiny_bert, toy_data):
    net, tokens = planned(tiny_bert, toy_data(), "head", {})
    flops = check(net, tokens, range(3))
    assert flops.token_backward == flops.square_backward == 0
    # Pooler: its weight's gradient; output layer: those of its weight and of its input.
    assert flops.row_backward == 2 * 32 * 32 + 2 * 2 * 32 * 3


def test_figures_of_a_bert_by_hand(tiny_bert, toy_data):
    net, tokens = planned(tiny_bert, toy_data(), "full", {})
    flops = check(net, tokens, range(4))
    per_block = 2 * (4 * 32 * 32 + 2 * 32 * 64)
    assert flops.token_forward == 4 * per_block
    assert flops.square_forward == 4 * 4 * 32
    assert flops.row_forward == 2 * (32 * 32 + 32 * 3)
    assert flops.forward(2, 10) == 2 * (flops.row_forward + 10 * 4 * per_block + 100 * 4 * 4 * 32)


def test_the_default_attention_costs_what_eager_attention_costs(tiny_bert, toy_data):
    """Whatever kernel runs, the products are the same: a run's FLOPs do not depend on the machine."""
    data, counts = toy_data(), []
    for attention in (None, "eager"):
        net, tokens = planned(tiny_bert, data, "full", {}, attention)
        with watch_flops(net.model, net.map) as flops:
            net.model(**tokens.batch(range(4)))
        counts.append(flops)
    assert counts[0] == counts[1]


def test_watching_ends_with_the_context(tiny_bert, toy_data):
    net, tokens = planned(tiny_bert, toy_data(), "full", {})
    with watch_flops(net.model, net.map) as flops:
        net.model(**tokens.batch(range(2)))
    before = flops.token_forward
    net.model(**tokens.batch(range(2)))
    assert flops.token_forward == before
    with pytest.raises(RuntimeError, match="stop"), watch_flops(net.model, net.map):
        raise RuntimeError("stop")
    assert not any(module._forward_hooks for module in net.model.modules())


def test_a_layer_that_runs_twice_counts_twice():
    class Twice(nn.Module):
        def __init__(self) -> None:
            super().__init__()
            self.layer = nn.Linear(8, 8)

        def forward(self, hidden: torch.Tensor) -> torch.Tensor:
            return self.layer(self.layer(hidden))

    with watch_flops(model := Twice(), ModelMap("none", 8, (Chain("layer", (), ()),), ())) as flops:
        model(torch.ones(2, 5, 8))
    assert flops.forward(2, 5) == 2 * 5 * 2 * (2 * 8 * 8)
    assert flops.backward(2, 5) == 2 * 5 * (2 * 8 * 8) * 3  # the first call's input needs no gradient


# ---------------------------------------------------------------- images


def image_net(name: str, **options):
    import transformers

    config = getattr(transformers, f"{name}Config")(num_labels=3, **options)
    model = transformers.AutoModelForImageClassification.from_config(config)
    model.config._attn_implementation = "eager"
    return model, map_model(model)


IMAGE_NETS = {
    "vit": (
        "ViT",
        {"image_size": 16, "patch_size": 4, "hidden_size": 16, "num_hidden_layers": 3, "num_attention_heads": 2},
    ),
    "basic": ("ResNet", {"embedding_size": 8, "hidden_sizes": [8, 12, 16], "depths": [2, 1, 2], "layer_type": "basic"}),
    "bottleneck": ("ResNet", {"embedding_size": 8, "hidden_sizes": [8, 16], "depths": [1, 3]}),
    "windows": (
        "Swin",
        {"image_size": 16, "patch_size": 2, "embed_dim": 8, "depths": [2, 1], "num_heads": [2, 2], "window_size": 4},
    ),
}


@pytest.mark.parametrize("name", IMAGE_NETS)
@pytest.mark.parametrize("trained", ["all", "last block", "head", "norms"])
def test_flops_of_images_are_those_that_torch_counts(name, trained):
    kind, options = IMAGE_NETS[name]
    model, found = image_net(kind, **options)
    chosen = {
        "all": found.tensors,
        "last block": found.blocks[-1].tensors,
        "head": found.head,
        "norms": [tensor for tensor in found.tensors if tensor.kind == "norm"],
    }[trained]
    names = {tensor.name for tensor in chosen}
    for key, parameter in model.named_parameters():
        parameter.requires_grad_(key in names)
    with watch_flops(model, found) as flops, FlopCounterMode(display=False) as forward:
        logits = model(pixel_values=torch.rand(5, 3, 16, 16)).logits
    with FlopCounterMode(display=False) as backward:
        logits.sum().backward()
    assert flops.forward(5, 1) == forward.get_total_flops()
    assert flops.backward(5, 1) == backward.get_total_flops()


def test_a_convolution_by_hand():
    """2 x 3 x 3 kernel places, 4 of 8 channels read by each group, 16 channels and 5 x 5 places out; backward as much
    again for the weight's gradient, and for the input's. (torch's counter takes the groups for one in the first.)"""
    layer = nn.Sequential(nn.Conv2d(8, 16, 3, stride=2, padding=1, groups=2))
    with watch_flops(layer, ModelMap("none", 8, (), (), modality="image")) as flops:
        layer(torch.rand(3, 8, 9, 9, requires_grad=True))
    assert flops.row_forward == 2 * 3 * 3 * 4 * 16 * 5 * 5
    assert flops.row_backward == 2 * flops.row_forward
    layer.requires_grad_(False)
    with watch_flops(layer, ModelMap("none", 8, (), (), modality="image")) as flops:
        layer(torch.rand(3, 8, 9, 9, requires_grad=True))
    assert flops.row_backward == flops.row_forward


@pytest.mark.parametrize("name", ["MobileNetV2", "ConvNext", "ConvNextV2", "EfficientNet"])
def test_depthwise_convolutions_cost_what_torch_counts_forward(name):
    """(Backward, torch's counter takes the groups for one.)"""
    options = {
        "MobileNetV2": {"image_size": 32, "depth_multiplier": 0.1},
        "EfficientNet": {"image_size": 32, "width_coefficient": 0.2, "depth_coefficient": 0.3, "hidden_dim": 256},
    }.get(name, {"image_size": 16, "hidden_sizes": [8, 16], "depths": [1, 2], "num_stages": 2})
    model, found = image_net(name, **options)
    size = options["image_size"]
    model.eval()
    with watch_flops(model, found) as flops, FlopCounterMode(display=False) as forward:
        model(pixel_values=torch.rand(3, 3, size, size))
    assert flops.forward(3, 1) == pytest.approx(forward.get_total_flops(), rel=1e-9)
    assert any(block.grouped for block in found.blocks)
