"""The peers' scripts train what the product's methods train, so that both sides do the same work."""

from __future__ import annotations

import importlib.util
from collections import defaultdict
from pathlib import Path

import numpy as np
import pytest
import torch
from transformers import AutoModelForSequenceClassification

from benchmarks.jobs import COMPARED, RATES, method_of
from benchmarks.peers import features_script, single_script
from benchmarks.peers.parts import METHODS, VIRTUAL_TOKENS, GradualUnfreezing, apply_method, layerwise_groups
from benchmarks.peers.single_script import Script
from benchmarks.rows import Files
from tunewise.engine.apply import choose_trained, insert
from tunewise.engine.features import Embedder
from tunewise.models.load import Net, load_net
from tunewise.models.locate import locate
from tunewise.recipe import MethodChoice
from tunewise.types import Schema, Signals

SCHEMA = Schema("classification", ("text",), "label", ("a", "b", "c"))


def net_of(folder: Path) -> Net:
    return load_net(locate(str(folder), folder), SCHEMA)


def peer_of(method: str, folder: Path) -> torch.nn.Module:
    return apply_method(method, AutoModelForSequenceClassification.from_pretrained(folder, num_labels=3))


def trained_by_the_product(method: str, folder: Path) -> list[tuple[float, tuple[int, ...]]]:
    """Rate and shape of each tensor that trains."""
    net = net_of(folder)
    plan = MethodChoice.model_validate(method_of(method)).build().plan(net.map, Signals(0, 100, 10))
    insert(plan, net, 0)
    tensors = choose_trained(plan, net)
    return sorted((plan.learning_rate * tensor.lr_scale, tuple(tensor.parameter.shape)) for tensor in tensors)


@pytest.mark.parametrize("method", ["head", "last_k", "full", "lora", "adapter", "norms", "bitfit"])
def test_same_tensors_train(method: str, tiny_bert: Path) -> None:
    trained = [tensor for tensor in peer_of(method, tiny_bert).parameters() if tensor.requires_grad]
    ours = trained_by_the_product(method, tiny_bert)
    assert sorted(tuple(tensor.shape) for tensor in trained) == sorted(shape for _, shape in ours)
    assert {rate for rate, _ in ours} == {RATES[method]}


def test_prompts_have_as_many_values_as_the_products(tiny_bert: Path) -> None:
    head = sum(t.numel() for name, t in peer_of("head", tiny_bert).named_parameters() if t.requires_grad)
    width, blocks = 32, 4
    for method, expected in (("prompt_tuning", VIRTUAL_TOKENS * width), ("prefix_tuning", 2 * 20 * width * blocks)):
        trained = [tensor.numel() for tensor in peer_of(method, tiny_bert).parameters() if tensor.requires_grad]
        ours = [int(np.prod(shape)) for _, shape in trained_by_the_product(method, tiny_bert)]
        assert sum(trained) == sum(ours) == expected + head


def test_same_rates_by_layer(tiny_bert: Path) -> None:
    groups = layerwise_groups(peer_of("layerwise", tiny_bert), RATES["layerwise"])
    theirs = defaultdict(list)
    for group in groups:
        theirs[round(group["lr"], 9)] += [tuple(tensor.shape) for tensor in group["params"]]
    ours = defaultdict(list)
    for rate, shape in trained_by_the_product("layerwise", tiny_bert):
        ours[round(rate, 9)].append(shape)
    assert {rate: sorted(shapes) for rate, shapes in theirs.items()} == {r: sorted(s) for r, s in ours.items()}


def test_same_phases_of_unfreezing(tiny_bert: Path) -> None:
    model, net = peer_of("gradual", tiny_bert), net_of(tiny_bert)
    callback, method = GradualUnfreezing(model), MethodChoice.model_validate(method_of("gradual")).build()

    class State:
        max_steps, global_step = 100, 0

    for step in (0, 9, 10, 35, 60, 99):
        State.global_step = step
        callback.on_step_begin(None, State, None)
        trained = sorted(tuple(tensor.shape) for tensor in model.parameters() if tensor.requires_grad)
        plan = method.plan(net.map, Signals(step, 100, 10))
        assert trained == sorted(tuple(tensor.parameter.shape) for tensor in choose_trained(plan, net)), step


def test_a_bottleneck_starts_as_the_layer_alone(tiny_bert: Path) -> None:
    ids = torch.arange(10, 20)[None]
    torch.manual_seed(0)
    plain = AutoModelForSequenceClassification.from_pretrained(tiny_bert, num_labels=3).eval()
    before = plain(input_ids=ids).logits
    torch.testing.assert_close(apply_method("adapter", plain)(input_ids=ids).logits, before, rtol=0, atol=0)


def test_every_method_of_the_comparison_has_a_script(tiny_bert: Path) -> None:
    assert set(COMPARED) == {"features", *METHODS} and len(COMPARED) == 12
    with pytest.raises(ValueError, match="no method 'magic'"):
        apply_method("magic", torch.nn.Linear(1, 1))


def script(model: Path, files: Files, method: str, **more: object) -> Script:
    paths = {name: str(getattr(files, name)) for name in ("train", "validation", "test")}
    settings = {"learning_rate": 1e-2, "batch_size": 8, "seed": 0, "epochs": 2.0, **more}
    return Script(model=str(model), method=method, **paths, **settings)


@pytest.mark.parametrize(("method", "expert"), [("full", False), ("layerwise", True), ("gradual", True)])
def test_a_script_trains(method: str, expert: bool, tiny_bert: Path, files: Files) -> None:
    found = single_script.run(script(tiny_bert, files, method, expert=expert, validate=True, threads=1))
    assert found["steps"] == 12 and found["train_seconds"] > 0 and 0 <= found["accuracy"] <= 1
    every = 2 * 4 * sum(t.numel() for t in AutoModelForSequenceClassification.from_pretrained(tiny_bert).parameters())
    assert found["optimizer_bytes"] > 0.95 * every


def test_a_script_learns(tiny_bert: Path, files: Files) -> None:
    asked = script(tiny_bert, files, "full", learning_rate=2e-3, epochs=8.0, threads=1)
    assert single_script.run(asked)["accuracy"] > 0.6


def test_features_are_the_products(tiny_bert: Path, files: Files) -> None:
    asked = script(tiny_bert, files, "features")
    texts = [text for text, _ in single_script.read_rows(files.test)]
    expected = Embedder(net_of(tiny_bert), pooling="mean")([(text,) for text in texts])
    np.testing.assert_allclose(features_script._plain(asked)(texts), expected, atol=1e-5)
    if importlib.util.find_spec(features_script.LIBRARY):
        np.testing.assert_allclose(features_script._library(asked)(texts), expected, atol=1e-5)


@pytest.mark.parametrize("expert", [False, True])
def test_features_without_the_library(
    expert: bool, tiny_bert: Path, files: Files, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(features_script, "LIBRARY", "no_such_library")
    found = features_script.run(script(tiny_bert, files, "features", expert=expert, threads=1))
    assert found["encoder"] == "transformers with the same pooling" and found["accuracy"] > 0.4
