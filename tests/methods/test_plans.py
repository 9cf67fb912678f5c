"""Each method's plan, against tables written by hand."""

from __future__ import annotations

import numpy as np
import pytest
import torch

from tunewise.engine.apply import choose_trained, insert
from tunewise.engine.optim import Optimizer
from tunewise.engine.settings import TrainConfig
from tunewise.errors import MethodError
from tunewise.methods import METHODS
from tunewise.models.load import load_net
from tunewise.models.locate import locate
from tunewise.types import Plan, Schema, Signals

SCHEMA = Schema("classification", ("message",), "label", ("a", "b", "c"))
HEAD = {"bert.pooler.dense.weight", "bert.pooler.dense.bias", "classifier.weight", "classifier.bias"}


@pytest.fixture
def net(tiny_bert):
    return load_net(locate(str(tiny_bert), tiny_bert), SCHEMA)


def plan_of(net, name: str, signals: Signals | None = None, **options) -> Plan:
    return METHODS[name](METHODS[name].Config(**options)).plan(net.map, signals or Signals())


def trained(net, plan: Plan) -> set[str]:
    return {tensor.name for tensor in net.map.tensors if plan.rule_for(tensor.name)}


def names_in(net, *groups: int) -> set[str]:
    """Names in groups of the map: 0 the embedding, 1 to 4 the blocks, 5 the head."""
    return {tensor.name for group in groups for tensor in net.map.groups[group]}


# ---------------------------------------------------------------- full, head, last_k, features, scratch


def test_full_and_head_and_features(net):
    assert trained(net, plan_of(net, "full")) == names_in(net, 0, 1, 2, 3, 4, 5)
    assert trained(net, plan_of(net, "head")) == HEAD
    features = plan_of(net, "features", pooling="first", strength=2.0)
    assert trained(net, features) == set() and features.solver.name == "features"
    assert dict(features.solver.options) == {
        "pooling": "first",
        "classifier": "auto",
        "normalize": True,
        "embed_whole": False,
        "strength": 2.0,
    }


@pytest.mark.parametrize(("k", "groups"), [(1, (4, 5)), (2, (3, 4, 5)), (4, (1, 2, 3, 4, 5))])
def test_last_k(net, k, groups):
    assert trained(net, plan_of(net, "last_k", k=k)) == names_in(net, *groups)


def test_last_k_beyond_the_model(net):
    with pytest.raises(MethodError, match="k is 5, but the model has 4 blocks") as caught:
        plan_of(net, "last_k", k=5)
    assert caught.value.fix == "set k between 1 and 4, or take the method 'full'"


def test_last_k_does_not_mistake_block_1_for_11(tiny_model):
    folder = tiny_model("bert", 12)
    net = load_net(locate(str(folder), folder), SCHEMA)
    names = trained(net, plan_of(net, "last_k", k=2))
    assert {name.split(".")[3] for name in names if ".layer." in name} == {"10", "11"}
    assert trained(net, plan_of(net, "last_k", k=11)).isdisjoint(names_in(net, 0, 1))
    assert names_in(net, 2) <= trained(net, plan_of(net, "last_k", k=11))


def test_scratch_draws_everything_anew(net):
    plan = plan_of(net, "scratch")
    assert trained(net, plan) == names_in(net, 0, 1, 2, 3, 4, 5)
    before = {name: parameter.detach().clone() for name, parameter in net.model.named_parameters()}
    with torch.no_grad():
        for parameter in net.model.parameters():
            parameter.fill_(7.0)
    insert(plan, net, seed=3)
    for name, parameter in net.model.named_parameters():
        assert not (parameter == 7.0).any(), name
        if parameter.ndim > 1:
            assert not torch.equal(parameter, before[name]), name


# ---------------------------------------------------------------- layerwise

# Written by hand for 4 blocks and a decay of 0.8: head, blocks 3 to 0, embedding.
BEIT = [1.0, 0.8, 0.64, 0.512, 0.4096, 0.32768]
ELECTRA = [1.0, 0.64, 0.512, 0.4096, 0.32768, 0.262144]


@pytest.mark.parametrize(("rule", "table"), [("beit", BEIT), ("electra", ELECTRA)])
def test_layerwise_rates(net, rule, table):
    plan = plan_of(net, "layerwise", rule=rule, decay=0.8, head_rate=1, learning_rate=1e-3)
    scales = dict(zip((5, 4, 3, 2, 1, 0), table, strict=True))
    for group, scale in scales.items():
        for name in names_in(net, group):
            assert plan.rule_for(name).lr_scale == pytest.approx(scale, rel=1e-12), name
    # and in the optimiser, tensor by tensor
    config = TrainConfig(warmup=0, schedule="constant")
    optimizer = Optimizer(choose_trained(plan, net), plan.learning_rate, config, total_steps=10)
    optimizer.set_rates(0)
    rates = {id(parameter): group["lr"] for group in optimizer.adamw.param_groups for parameter in group["params"]}
    parameters = dict(net.model.named_parameters())
    for group, scale in scales.items():
        for name in names_in(net, group):
            assert rates[id(parameters[name])] == pytest.approx(1e-3 * scale, rel=1e-12), name


@pytest.mark.parametrize("rule", ["beit", "electra"])
def test_layerwise_without_decay_is_full(net, rule):
    plan, full = plan_of(net, "layerwise", rule=rule, decay=1.0), plan_of(net, "full")
    for tensor in net.map.tensors:
        assert plan.rule_for(tensor.name).lr_scale == full.rule_for(tensor.name).lr_scale


# ---------------------------------------------------------------- gradual


def phases(net, signals: Signals, **options) -> list[tuple[int, int]]:
    """(step, number of groups that train) of every plan, as the engine would ask for them."""
    found, step = [], 0
    while step is not None and len(found) < 20:
        now = Signals(step, signals.total_steps, signals.steps_per_epoch)
        plan = plan_of(net, "gradual", now, **options)
        names = trained(net, plan)
        groups = [set(names_in(net, group)) <= names for group in range(6)]
        assert names == names_in(net, *(group for group in range(6) if groups[group]))
        assert groups == sorted(groups)  # from the top, without a gap
        found.append((step, sum(groups)))
        assert plan.until is None or plan.until > step
        step = plan.until
    return found


def test_gradual_adds_a_group_at_even_distances_up_to_half_of_the_training(net):
    assert phases(net, Signals(0, 100, 10)) == [(0, 1), (10, 2), (20, 3), (30, 4), (40, 5), (50, 6)]
    assert phases(net, Signals(0, 100, 10), over=1.0) == [(0, 1), (20, 2), (40, 3), (60, 4), (80, 5)]


def test_gradual_by_epoch(net):
    assert phases(net, Signals(0, 40, 7), every="epoch") == [(0, 1), (7, 2), (14, 3), (21, 4), (28, 5), (35, 6)]
    assert phases(net, Signals(0, 20, 7), every="epoch") == [(0, 1), (7, 2), (14, 3)]


def test_gradual_in_a_training_shorter_than_its_phases(net):
    found = phases(net, Signals(0, 4, 4))
    assert found[0][0] == 0 and found[-1][1] == 6
    assert [step for step, _ in found] == sorted({step for step, _ in found})


def test_gradual_between_two_phases_is_as_at_the_first_of_them(net):
    at, later = (plan_of(net, "gradual", Signals(step, 100, 10)) for step in (20, 29))
    assert at == later and at.until == 30


def test_gradual_grows_and_never_shrinks_for_any_length(net):
    generator = np.random.default_rng(0)
    for total in [1, 2, 3, 5, 7, *generator.integers(8, 500, size=10).tolist()]:
        counts = [count for _, count in phases(net, Signals(0, total, max(1, total // 3)))]
        assert counts == sorted(set(counts))
