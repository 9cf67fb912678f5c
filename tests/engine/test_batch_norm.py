"""Running statistics of batch norm: frozen by default; updated only of what trains, and then saved and resumed."""

from __future__ import annotations

from dataclasses import replace
from pathlib import Path

import numpy as np
import pytest
import torch
from torch import nn
from training_bench import Configured, check_resumes

from tunewise.combinations import check_combinations
from tunewise.conformance.bench import CONFIG, Bench, Watch
from tunewise.engine.apply import insert
from tunewise.engine.handover import load_model, save_model
from tunewise.engine.settings import TrainConfig
from tunewise.errors import RecipeError
from tunewise.methods import METHODS
from tunewise.models.batch_norm import copied_statistics, put_back, settle_batch_norms, statistics_kept
from tunewise.recipe import recipe_from
from tunewise.types import Schema, Signals

UPDATED = CONFIG.model_copy(update={"batch_norm": "updated"})


@pytest.fixture(scope="module")
def bench(tmp_path_factory: pytest.TempPathFactory) -> Bench:
    return Configured.make("resnet", tmp_path_factory.mktemp("resnet"))


def method(name: str, **options):
    return METHODS[name](METHODS[name].Config(**options))


def moved(bench: Bench, net) -> set[str]:
    """Where batch norms are that know something else than the base model's, by stage."""
    base = dict(bench.net().model.named_buffers())
    return {
        name.rpartition(".")[0] for name, buffer in net.model.named_buffers() if not torch.equal(buffer, base[name])
    }


def norms_in(net, *blocks: int) -> set[str]:
    return {
        f"{block.path}.{name}"
        for block in (net.map.blocks[number] for number in blocks)
        for name, module in net.model.get_submodule(block.path).named_modules()
        if isinstance(module, nn.BatchNorm2d)
    }


@pytest.mark.parametrize("name", ["full", "norms", "last_k"])
def test_frozen_by_default(name, bench, tmp_path):
    assert TrainConfig().batch_norm == "frozen"
    assert not moved(bench, bench.train(method(name), tmp_path, Watch()).net)


def test_updated_where_weights_train_and_nowhere_else(bench, tmp_path):
    updating = replace(bench, given=UPDATED)
    trained = updating.train(method("last_k", k=2), tmp_path / "last", Watch()).net
    assert moved(bench, trained) == norms_in(trained, 2, 3)
    trained = updating.train(method("full"), tmp_path / "full", Watch()).net
    assert moved(bench, trained) == norms_in(trained, 0, 1, 2, 3) | {"resnet.embedder.embedder.normalization"}
    assert not moved(bench, updating.train(method("head"), tmp_path / "head", Watch()).net)


@pytest.mark.parametrize(("name", "options"), [("last_k", {}), ("mlp_head", {"unfreeze": 2})])
def test_updated_statistics_are_handed_over(name, options, bench, tmp_path):
    """As a transformers folder and as a tunewise folder."""
    updating = replace(bench, given=UPDATED)
    trained = updating.train(method(name, **options), tmp_path, Watch())
    kind, decision = METHODS[name].handover, {"threshold": None, "positive": None}
    save_model(trained, kind, tmp_path / "model", bench.data.schema, decision, lambda size: "")
    again, plan, head, _ = load_model(tmp_path / "model", torch.device("cpu"))
    assert moved(bench, trained.net)
    assert np.allclose(bench.logits(again, plan, head), bench.logits(trained.net, trained.plan), atol=1e-6)


def test_random_weights_do_not_keep_the_statistics_of_others(bench, tmp_path):
    """Those of pretraining say nothing of them; they begin as torch makes them, and move, whatever the option says."""
    net = bench.net()
    plan = method("scratch").plan(net.map, Signals())
    insert(plan, net, seed=1)
    for name, buffer in net.model.named_buffers():
        assert (buffer == (1 if name.endswith("running_var") else 0)).all(), name
    assert net.updates_batch_norm and any("batch norms begin with random weights" in note for note in net.notes)
    trained = bench.train(method("scratch"), tmp_path, Watch())
    count = len(norms_in(trained.net, 0, 1, 2, 3)) + 1
    assert len(moved(bench, trained.net)) == count
    steps = {int(buffer) for name, buffer in trained.net.model.named_buffers() if "num_batches" in name}
    assert steps == {bench.config.max_steps}


def test_a_resumed_run_with_updated_statistics_is_bit_by_bit_the_same(bench, tmp_path):
    config = UPDATED.model_copy(update={"save_steps": 6, "evaluate_every": 4, "keep_best": True})
    check_resumes(replace(bench, given=config), method("full"), tmp_path)


def test_a_batch_with_one_value_per_channel_is_normalised_by_running_statistics():
    norm = nn.Sequential(nn.BatchNorm2d(3)).train()
    settle_batch_norms(norm, {"0.weight"}, updated=True)
    with statistics_kept(norm):
        norm(torch.rand(4, 3, 2, 2))
    before = {name: buffer.clone() for name, buffer in norm.named_buffers()}
    pixels = torch.rand(1, 3, 1, 1)
    assert torch.allclose(norm(pixels), pixels / (1 + 1e-5) ** 0.5) and norm[0].training
    assert all(torch.equal(buffer, before[name]) for name, buffer in norm.named_buffers())


def test_statistics_can_be_put_back():
    norm = nn.Sequential(nn.BatchNorm1d(2), nn.BatchNorm1d(2)).train()
    assert settle_batch_norms(norm, {"1.bias"}, updated=True) == [norm[1]] and not norm[0].training
    copies = copied_statistics(norm)
    assert len(copies) == 3
    norm(torch.randn(8, 2) + 5)
    assert norm[1].running_mean.abs().max() > 0 and norm[0].running_mean.abs().max() == 0
    put_back(copies)
    assert norm[1].running_mean.abs().max() == 0 and int(norm[1].num_batches_tracked) == 0


@pytest.mark.parametrize(
    ("train", "text", "told"),
    [
        ({}, ("message",), "models for text have no batch norm"),
        ({"gradient_checkpointing": True}, (), "move the statistics of its batch norms twice"),
    ],
)
def test_where_statistics_cannot_be_updated_that_is_told(train, text, told):
    recipe = recipe_from(
        {"model": "tiny", "data": {"train": "toy.csv", "label": "label"}, "method": "full"}
        | {"train": {"batch_norm": "updated", **train}}
    )
    schema = Schema("classification", text, "label", ("a", "b"))
    with pytest.raises(RecipeError, match=told) as caught:
        check_combinations(recipe, recipe.all_methods, schema, Path.cwd())
    assert "train.batch_norm" in caught.value.where and caught.value.fix
