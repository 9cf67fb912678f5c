"""Visual prompts on a tiny ViT, against the blocks called by hand."""

from __future__ import annotations

import math
from types import SimpleNamespace

import pytest
import torch

from tunewise.engine.apply import choose_trained, frozen_blocks, insert
from tunewise.errors import MethodError
from tunewise.methods import METHODS
from tunewise.models.blocks import map_model, named_tensors
from tunewise.models.cost import watch_flops
from tunewise.types import Plan, Signals

TOKENS, BLOCKS, WIDTH = 3, 3, 16


def vit(blocks: int = BLOCKS) -> torch.nn.Module:
    from transformers import ViTConfig, ViTForImageClassification

    torch.manual_seed(0)
    config = ViTConfig(
        hidden_size=WIDTH,
        num_hidden_layers=blocks,
        num_attention_heads=2,
        intermediate_size=32,
        image_size=12,
        patch_size=4,
        num_labels=3,
        initializer_range=0.2,
    )
    return ViTForImageClassification(config).eval()


def plan_for(model: torch.nn.Module, **options) -> Plan:
    method = METHODS["visual_prompt"](METHODS["visual_prompt"].Config(**{"tokens": TOKENS, **options}))
    return method.plan(map_model(model), Signals())


def with_prompts(model: torch.nn.Module, **options) -> tuple[SimpleNamespace, set[str]]:
    net = SimpleNamespace(model=model, map=map_model(model), tokenizer=None, updates_batch_norm=False)
    plan = plan_for(model, **options)
    insert(plan, net, 0)
    trained = {tensor.name for tensor in choose_trained(plan, net)}
    assert frozen_blocks(trained, net.map, plan) == 0
    model.eval()
    return net, trained


def prompts_of(model: torch.nn.Module) -> list[torch.Tensor]:
    return [value for name, value in named_tensors(model).items() if name.endswith(".visual_prompt")]


def pixels(rows: int = 2) -> torch.Tensor:
    return torch.randn(rows, 3, 12, 12, generator=torch.Generator().manual_seed(1))


def by_hand(model: torch.nn.Module, prompts: list[torch.Tensor]) -> torch.Tensor:
    """[x_cls; p; patches] through the untouched model's blocks; where a block has a prompt, it takes the place of what
    came out of the last one."""
    hidden = model.vit.embeddings(pixels())
    cls, patches = hidden[:, :1], hidden[:, 1:]
    prompt = None
    for number, layer in enumerate(model.vit.layers):
        if number < len(prompts):
            prompt = prompts[number].expand(len(hidden), -1, -1)
        out = layer(torch.cat([cls, prompt, patches], dim=1))
        cls, prompt, patches = out[:, :1], out[:, 1 : 1 + TOKENS], out[:, 1 + TOKENS :]
    return model.classifier(model.vit.layernorm(torch.cat([cls, patches], dim=1))[:, 0])


@pytest.mark.parametrize(
    ("depth", "blocks", "count"), [("deep", 3, 3), ("shallow", 3, 1), ("deep", 1, 1), ("shallow", 1, 1)]
)
def test_prompts_enter_behind_cls_and_leave_before_the_head(depth, blocks, count):
    model, plain = vit(blocks), vit(blocks)
    with_prompts(model, depth=depth)
    prompts = prompts_of(model)
    assert [tuple(prompt.shape) for prompt in prompts] == [(1, TOKENS, WIDTH)] * count
    with torch.no_grad():
        output = model(pixel_values=pixels(), output_hidden_states=False)
        assert torch.allclose(output.logits, by_hand(plain, prompts), atol=1e-5)
        assert not torch.allclose(output.logits, plain(pixel_values=pixels()).logits, atol=1e-3)
        assert model.vit(pixel_values=pixels()).last_hidden_state.shape == (2, 1 + 9, WIDTH)


@pytest.mark.parametrize("depth", ["deep", "shallow"])
def test_gradients_reach_prompts_and_head_and_nothing_else(depth):
    net, trained = with_prompts(vit(), depth=depth)
    net.model(pixel_values=pixels()).logits.square().sum().backward()
    tensors = named_tensors(net.model)
    assert {name for name, value in tensors.items() if value.grad is not None and value.grad.any()} == trained
    places = range(BLOCKS) if depth == "deep" else range(1)
    head = {tensor.name for tensor in net.map.head}
    assert trained - head == {f"vit.layers.{place}.visual_prompt" for place in places} and head < trained
    assert {tensor.name for tensor in net.map.tensors} == tensors.keys() - (trained - head)


def test_first_values_are_glorots_for_the_projection_of_a_patch():
    net, _ = with_prompts(vit(), tokens=500)
    bound = math.sqrt(6 / (3 * 4 * 4 + WIDTH))
    for prompt in prompts_of(net.model):
        assert 0.98 * bound < prompt.abs().max() <= bound
        assert prompt.std().item() == pytest.approx(bound / math.sqrt(3), rel=0.03)
    first, second, _ = prompts_of(net.model)
    assert not torch.equal(first, second)


def test_flops_count_the_vectors():
    plain, model = vit(), vit()
    model_map = map_model(plain)
    with_prompts(model)
    with watch_flops(plain, model_map) as before:
        plain(pixel_values=pixels())
    with watch_flops(model, model_map) as after:
        model(pixel_values=pixels())
    assert 1.25 < after.forward(1, 1) / before.forward(1, 1) < 1.45  # 13 tokens in the place of 10


def test_text_is_refused(tiny_bert):
    from transformers import AutoModelForSequenceClassification

    model = AutoModelForSequenceClassification.from_pretrained(tiny_bert)
    with pytest.raises(MethodError, match="this model reads text") as caught:
        plan_for(model)
    assert caught.value.instead == "prompt_tuning"


def test_convolutions_windows_and_numbered_patches_are_refused():
    import transformers

    small = {"num_labels": 3, "image_size": 32}
    resnet = transformers.ResNetConfig(embedding_size=8, hidden_sizes=[8, 16], depths=[1, 1], layer_type="basic")
    swin = transformers.SwinConfig(**small, embed_dim=8, depths=[1, 1], num_heads=[2, 2], window_size=4)
    beit = transformers.BeitConfig(
        **small,
        patch_size=8,
        hidden_size=16,
        num_hidden_layers=2,
        num_attention_heads=2,
        intermediate_size=16,
        use_relative_position_bias=True,
        out_indices=[1],
    )
    for config, told in ((resnet, "not every block"), (swin, "not every block"), (beit, "know where each patch is")):
        model = transformers.AutoModelForImageClassification.from_config(config)
        with pytest.raises(MethodError, match=told) as caught:
            plan_for(model)
        assert caught.value.instead == "bitfit"


def test_the_mean_of_patches_does_not_see_the_prompts():
    """DINOv2's head reads the mean of all patches beside [CLS]: with the prompts in it, it would read others."""
    import transformers

    torch.manual_seed(0)
    config = transformers.Dinov2Config(
        hidden_size=WIDTH, num_hidden_layers=2, num_attention_heads=2, image_size=12, patch_size=4, num_labels=3
    )
    model = transformers.AutoModelForImageClassification.from_config(config).eval()
    with_prompts(model)
    assert model.dinov2(pixel_values=pixels()).last_hidden_state.shape == (2, 1 + 9, WIDTH)
    assert model(pixel_values=pixels()).logits.shape == (2, 3)
