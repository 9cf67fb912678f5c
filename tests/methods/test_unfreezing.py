"""Phases and rates of lp_ft, chain_thaw and ulmfit, against tables written by hand."""

from __future__ import annotations

import pytest

from tunewise.engine.apply import choose_trained
from tunewise.engine.optim import Optimizer
from tunewise.engine.settings import TrainConfig
from tunewise.methods import METHODS
from tunewise.methods.phases import current_phase
from tunewise.models.load import load_net
from tunewise.models.locate import locate
from tunewise.types import Plan, Schema, Signals

SCHEMA = Schema("classification", ("message",), "label", ("a", "b", "c"))
HEAD, EMBEDDING = 5, 0


@pytest.fixture
def net(tiny_bert):
    return load_net(locate(str(tiny_bert), tiny_bert), SCHEMA)


def plans(net, name: str, total: int, per_epoch: int = 10, **options) -> dict[int, Plan]:
    """The plan of each phase by its first step, as the engine asks for them."""
    method, found, step = METHODS[name](METHODS[name].Config(**options)), {}, 0
    while step is not None:
        found[step] = method.plan(net.map, Signals(step, total, per_epoch))
        assert found[step].until is None or step < found[step].until < total
        step = found[step].until
    return found


def scales(net, plan: Plan) -> dict[int, float]:
    """Rate scale by group (0 the embedding, 1 to 4 the blocks, 5 the head); each trains as a whole, or not at all."""
    found = {}
    for number, group in enumerate(net.map.groups):
        rules = {plan.rule_for(tensor.name) for tensor in group}
        each = {rule and rule.lr_scale for rule in rules}
        assert len(each) == 1, number
        if each != {None}:
            found[number] = each.pop()
    return found


@pytest.mark.parametrize(
    ("starts", "step", "total", "phase", "until"),
    [
        ((0, 10, 20), 0, 30, 0, 10),
        ((0, 10, 20), 9, 30, 0, 10),
        ((0, 10, 20), 10, 30, 1, 20),
        ((0, 10, 20), 29, 30, 2, None),
        ((0, 10, 20), 15, 20, 1, None),  # the last begins when the training is over
        ((0, 0, 0, 1), 0, 2, 2, 1),  # several at once: the last of them
    ],
)
def test_current_phase(starts, step, total, phase, until):
    assert current_phase(starts, Signals(step, total)) == (phase, until)


# ---------------------------------------------------------------- lp_ft


def test_lp_ft(net):
    found = plans(net, "lp_ft", 100)
    assert list(found) == [0, 30]
    assert scales(net, found[0]) == {HEAD: 50.0}
    assert scales(net, found[30]) == dict.fromkeys(range(6), 1.0)
    found = plans(net, "lp_ft", 100, probe_share=0.5, probe_rate=8)
    assert list(found) == [0, 50] and scales(net, found[0]) == {HEAD: 8.0}


def test_lp_ft_probes_at_the_rate_of_head(net):
    plan, head = plans(net, "lp_ft", 100)[0], METHODS["head"].default_learning_rate(net.map)
    assert plan.learning_rate * 50.0 == head
    assert plan.learning_rate == METHODS["full"].default_learning_rate(net.map)


def test_the_shortest_trainings(net):
    """One step is spent on the output layers even there; nothing trains beyond the end."""
    assert list(plans(net, "lp_ft", 1)) == [0]
    assert list(plans(net, "lp_ft", 2)) == [0, 1]
    for total in range(1, 12):
        for name in ("chain_thaw", "ulmfit", "gradual"):
            found = plans(net, name, total)
            assert list(found) == sorted(set(found))
        assert scales(net, plans(net, "chain_thaw", total)[0]) == {HEAD: 10.0}


# ---------------------------------------------------------------- chain_thaw


def test_chain_thaw(net):
    found = plans(net, "chain_thaw", 100)
    alone = [{EMBEDDING: 1.0}, {1: 1.0}, {2: 1.0}, {3: 1.0}, {4: 1.0}]
    expected = [{HEAD: 10.0}, *alone, dict.fromkeys(range(6), 1.0)]
    assert list(found) == [0, 20, 30, 40, 50, 60, 70]
    assert [scales(net, plan) for plan in found.values()] == expected


def test_shares_of_chain_thaw(net):
    found = plans(net, "chain_thaw", 200, probe_share=0.1, all_share=0.4, probe_rate=2)
    assert list(found) == [0, 20, 40, 60, 80, 100, 120]
    assert scales(net, found[0]) == {HEAD: 2.0}


def test_chain_thaw_goes_through_encoder_and_decoder(tiny_model):
    folder = tiny_model("t5")
    net = load_net(locate(str(folder), folder), SCHEMA)
    found = plans(net, "chain_thaw", 1000)
    assert len(found) == 1 + 1 + 8 + 1
    assert [tuple(scales(net, plan)) for plan in found.values()] == [(9,), *((n,) for n in range(9)), tuple(range(10))]


# ---------------------------------------------------------------- ulmfit, layerwise

# Powers of 2.6 by hand: head, blocks 3 to 0, embedding.
ULMFIT = [1, 1 / 2.6, 1 / 6.76, 1 / 17.576, 1 / 45.6976, 1 / 118.81376]


def test_ulmfit_rates_and_phases(net):
    found = plans(net, "ulmfit", 100)
    assert list(found) == [0, 10, 20, 30, 40, 50]
    for count, plan in enumerate(found.values(), start=1):
        assert plan.schedule == "slanted_triangular"
        table = dict(zip((5, 4, 3, 2, 1, 0), ULMFIT, strict=True))
        expected = dict(list(table.items())[:count])
        assert scales(net, plan) == {group: pytest.approx(scale, rel=1e-10) for group, scale in expected.items()}


def test_ulmfit_as_the_paper_has_it_by_epoch(net):
    assert list(plans(net, "ulmfit", 60, per_epoch=7, every="epoch")) == [0, 7, 14, 21, 28, 35]
    assert list(plans(net, "ulmfit", 60, over=1.0)) == [0, 12, 24, 36, 48]


def test_ulmfit_without_a_divisor_is_gradual(net):
    same, gradual = plans(net, "ulmfit", 100, divisor=1), plans(net, "gradual", 100, head_rate=1)
    assert [scales(net, plan) for plan in same.values()] == [scales(net, plan) for plan in gradual.values()]


@pytest.mark.parametrize(
    ("name", "options", "table"),
    [
        ("ulmfit", {}, [2.6**-below for below in range(14)]),
        ("layerwise", {"decay": 0.65, "head_rate": 1}, [0.65**below for below in range(14)]),
        (
            "layerwise",
            {"decay": 0.8, "rule": "electra", "head_rate": 1},
            [1.0, *(0.8**below for below in range(2, 15))],
        ),
    ],
)
def test_each_tensor_is_in_one_group_of_the_optimiser_at_the_rate_of_its_layer(tiny_model, name, options, table):
    """12 blocks, so that block 1 could be taken for 10 and 11."""
    folder = tiny_model("bert", 12)
    net = load_net(locate(str(folder), folder), SCHEMA)
    method = METHODS[name](METHODS[name].Config(learning_rate=1e-2, **options))
    plan = method.plan(net.map, Signals(99, 100, 10))
    optimizer = Optimizer(
        choose_trained(plan, net), plan.learning_rate, TrainConfig(warmup=0, schedule="constant"), total_steps=10
    )
    optimizer.set_rates(0)
    placed = [(id(parameter), group["lr"]) for group in optimizer.adamw.param_groups for parameter in group["params"]]
    parameters = dict(net.model.named_parameters())
    assert sorted(number for number, _ in placed) == sorted(map(id, parameters.values()))
    rates = dict(placed)
    for below, group in enumerate(reversed(net.map.groups)):
        for tensor in group:
            assert rates[id(parameters[tensor.name])] == pytest.approx(1e-2 * table[below], rel=1e-12), tensor.name
