"""Convolutional nets with the channels of a pixel side by side in memory: the same training, cached, resumed, handed
over."""

from __future__ import annotations

from dataclasses import replace
from pathlib import Path

import numpy as np
import pytest
import torch
from training_bench import PLAIN, Configured, check_resumes

from tunewise.conformance.bench import CONFIG, Bench, Watch
from tunewise.engine.device import Tuned
from tunewise.engine.handover import load_model, save_model
from tunewise.engine.train import Trained
from tunewise.methods import METHODS
from tunewise.models.guarded_convolutions import guard_convolutions
from tunewise.models.memory_format import has_channels_last, lies_channels_last

TUNED = Tuned("cpu", "fp32", 1, channels_last=True)
FAMILIES = ("resnet", "mobilenet_v2", "convnext")


@pytest.fixture(scope="module")
def benches(tmp_path_factory: pytest.TempPathFactory) -> dict[str, Configured]:
    made = {family: Configured.make(family, tmp_path_factory.mktemp(family)) for family in (*FAMILIES, "vit")}
    return {family: replace(bench, tuned=TUNED) for family, bench in made.items()}


@pytest.fixture(params=FAMILIES)
def bench(request: pytest.FixtureRequest, benches: dict[str, Configured]) -> Configured:
    return benches[request.param]


def method(name: str, **options):
    return METHODS[name](METHODS[name].Config(**options))


def state(trained: Trained) -> dict[str, torch.Tensor]:
    return trained.net.model.state_dict()


def test_all_maps_of_a_convolutional_net_lie_so(bench: Configured) -> None:
    net, found = bench.net(), []
    for block in net.map.blocks:
        module = net.model.get_submodule(block.path)
        module.register_forward_hook(lambda _, args, maps: found.append(maps))
    bench.logits(net)
    assert has_channels_last(net.model) and max(maps.shape[-1] for maps in found) > 1
    assert all(lies_channels_last(maps) for maps in found if maps.shape[-1] > 1)
    assert not has_channels_last(replace(bench, tuned=PLAIN).net().model)


def test_a_transformer_stays_as_it_is(benches: dict[str, Configured]) -> None:
    assert not has_channels_last(benches["vit"].net().model)


def test_group_norms_keep_torch_s_order(benches: dict[str, Configured]) -> None:
    net = Bench.net(benches["resnet"])
    net.model.resnet.pooler = torch.nn.Sequential(torch.nn.GroupNorm(2, 32), net.model.resnet.pooler)
    TUNED.lay_out(net)
    assert not has_channels_last(net.model)


@pytest.mark.parametrize("name", ["full", "lora", "norms"])
def test_it_trains_as_in_torch_s_order(name: str, bench: Configured, tmp_path: Path) -> None:
    usual, other = Watch(), Watch()
    replace(bench, tuned=PLAIN).train(method(name), tmp_path / "usual", usual)
    bench.train(method(name), tmp_path / "other", other)
    # A tiny MobileNet of random weights doubles what rounding changes with every step.
    assert np.allclose(usual.losses[:3], other.losses[:3], rtol=1e-4) and other.losses[-1] < other.losses[0]


@pytest.mark.parametrize("precision", ["fp32", "bf16"])
def test_gradients_are_those_of_torch_s_order(precision: str, bench: Configured) -> None:
    guard_convolutions()
    found = []
    for tuned in (Tuned("cpu", precision, 1), Tuned("cpu", precision, 1, channels_last=True)):
        net = replace(bench, tuned=tuned).net()
        for parameter in net.model.parameters():
            parameter.requires_grad_(True)
        net.model.eval()
        with tuned.autocast():
            logits = net.model(**bench.images["train"].batch(range(8))).logits
        logits.float().square().sum().backward()
        found.append({name: parameter.grad for name, parameter in net.model.named_parameters()})
    tolerance = {"fp32": 1e-3, "bf16": 0.1}[precision]
    for name, gradient in found[0].items():
        assert (gradient - found[1][name]).norm() <= tolerance * gradient.norm(), name


@pytest.mark.parametrize("name", ["head", "last_k"])
def test_cached_training_is_uncached_training(name: str, bench: Configured, tmp_path: Path) -> None:
    """Bit for bit, but where torch's rounding of kernels of one pixel goes by the number of images in a batch."""
    cached = bench.train(method(name), tmp_path / "cached", Watch())
    plain = replace(bench, given=CONFIG.model_copy(update={"cache": False}))
    uncached = plain.train(method(name), tmp_path / "plain", Watch())
    assert cached.forward_flops < uncached.forward_flops
    tolerance = 0.0 if bench.family == "convnext" else 3e-5
    for key, values in state(uncached).items():
        assert torch.allclose(values, state(cached)[key], rtol=0, atol=tolerance), key


def test_a_resumed_run_is_bit_for_bit_the_same(bench: Configured, tmp_path: Path) -> None:
    config = CONFIG.model_copy(update={"save_steps": 6, "evaluate_every": 4, "keep_best": True})
    check_resumes(replace(bench, given=config), method("full"), tmp_path)


@pytest.mark.parametrize("name", ["full", "lora", "mlp_head"])
def test_the_model_handed_over_lies_as_files_do(name: str, bench: Configured, tmp_path: Path) -> None:
    trained = bench.train(method(name), tmp_path, Watch())
    expected, decision = bench.logits(trained.net, trained.plan), {"threshold": None, "positive": None}
    save_model(trained, METHODS[name].handover, tmp_path / "model", bench.data.schema, decision, lambda size: "")
    again, plan, head, _ = load_model(tmp_path / "model", torch.device("cpu"))
    assert not has_channels_last(trained.net.model) and not has_channels_last(again.model)
    assert np.allclose(bench.logits(again, plan, head), expected, atol=1e-5)
