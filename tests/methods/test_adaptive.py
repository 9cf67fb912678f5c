"""Adaptive back-propagation: what is chosen, and when."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import replace
from pathlib import Path
from typing import Any

import numpy as np
import pytest
from pydantic import ValidationError
from signals_bench import signals_for

from tunewise.methods.adaptive import Adaptive
from tunewise.models.load import load_net
from tunewise.models.locate import locate
from tunewise.types import Signals, TensorFlops, TensorInfo


@pytest.fixture
def model(tiny_bert: Path, toy_data: Callable[..., Any]):
    return load_net(locate(str(tiny_bert), tiny_bert), toy_data().schema).map


def method_of(**options: Any) -> Adaptive:
    return Adaptive(Adaptive.Config(**options))


def test_of_equal_worth_what_fits_the_budget_is_at_the_top(model) -> None:
    signals = signals_for(method_of(), model)
    worth = {tensor.name: np.array(1.0) for tensor in model.tensors}
    plan = method_of().plan(model, replace(signals, measures={"importance": worth}))
    names = [tensor.name for tensor in model.tensors if plan.rule_for(tensor.name)]
    assert {tensor.name for tensor in model.head} <= set(names)
    depths = [block.index for block in model.blocks if any(t.name in names for t in block.tensors)]
    assert max(depths) == 3 and min(depths) > 0


def test_a_plan_costs_no_more_than_its_budget_and_takes_the_best(model) -> None:
    signals = signals_for(method_of(), model)
    plan = method_of(rho=0.6).plan(model, signals)
    chosen = [n for n, entry in enumerate(signals.flops) if plan.rule_for(entry.name)]
    spent = sum(signals.flops[n].weight for n in chosen) + sum(e.input for e in signals.flops[chosen[0] + 1 :])
    # 100 steps; a measurement takes two whole steps, and two more are to come (after 20 epochs of ten steps: none).
    full = 3 * signals.forward_flops
    later = -(-100 // plan.until) - 1 if plan.until else 0
    assert spent <= (0.6 * 100 * full - 100 * signals.forward_flops - later * 2 * full) / 100
    left_out = {entry.name for entry in signals.flops} - {signals.flops[n].name for n in chosen}
    assert left_out


def test_without_a_budget_every_tensor_that_lowers_the_loss_trains(model) -> None:
    signals = signals_for(method_of(rho=1.0), model)
    worth = {tensor.name: np.array(1.0 if n % 3 else -0.1) for n, tensor in enumerate(model.tensors)}
    plan = method_of(rho=1.0).plan(model, replace(signals, measures={"importance": worth}))
    head = {tensor.name for tensor in model.head}
    for tensor in model.tensors:
        assert bool(plan.rule_for(tensor.name)) == (worth[tensor.name] > 0 or tensor.name in head), tensor.name


def test_with_nothing_left_the_head_trains(model) -> None:
    signals = signals_for(method_of(), model)
    plan = method_of().plan(model, replace(signals, spent_flops=signals.full_flops))
    assert {t.name for t in model.tensors if plan.rule_for(t.name)} == {t.name for t in model.head}
    assert plan.until is None


def test_with_nothing_left_and_a_tied_output_layer_the_last_norm_trains(tmp_path) -> None:
    from tunewise.conformance.language_models import make_language_folder, toy_answers

    located = locate(str(make_language_folder("bart", tmp_path, blocks=2)), tmp_path)
    bart = load_net(located, toy_answers(6, 3).schema, language=True).map
    assert not bart.head
    signals = signals_for(method_of(), bart)
    plan = method_of().plan(bart, replace(signals, spent_flops=signals.full_flops))
    last = "model.decoder.layers.0.final_layer_norm"
    assert {t.name for t in bart.tensors if plan.rule_for(t.name)} == {f"{last}.weight", f"{last}.bias"}


@pytest.mark.parametrize(
    ("total", "rho", "interval", "untils"),
    [
        (100, 1.0, 2, [20, 40, 60, 80, None]),  # 10 steps per epoch
        (100, 1.0, 5, [50, None]),
        (100, 1.0, 0.01, [1, 2]),
        # Left are (0.5 x 3 - 1) x 1000 forward passes; a measurement takes 6, all together at most a tenth.
        (1000, 0.5, 20, [200, 400, 600, 800, None]),
        (1000, 0.5, 1, [112, 223]),  # 8 more in 1000 steps; then (500 - 112 x 0.5) / 60 = 7 more in 888
        (100, 0.5, 1, [None]),
    ],
)
def test_when_it_chooses_again(model, total: int, rho: float, interval: float, untils: list[int | None]) -> None:
    method, found, step = method_of(rho=rho, interval=interval), [], 0
    while len(found) < len(untils):
        signals = signals_for(method, model, step, total)
        step = method.plan(model, signals).until
        found.append(step)
    assert found == untils


def test_the_head_has_a_rate_of_its_own(model) -> None:
    plan = method_of(head_rate=10).plan(model, signals_for(method_of(), model))
    assert plan.rule_for("classifier.weight").lr_scale == 10
    assert plan.rule_for("bert.pooler.dense.weight").lr_scale == 10  # not in the checkpoint's file
    assert {rule.lr_scale for rule in plan.rules if "layer" in rule.pattern} <= {1.0}


@pytest.mark.parametrize("rho", [0.2, 1 / 3])
def test_less_than_the_forward_pass_cannot_be_had(rho: float) -> None:
    with pytest.raises(ValidationError, match="rho must be above 1/3: the forward pass is always paid"):
        method_of(rho=rho)


def test_flops_of_signals_are_in_execution_order() -> None:
    entries = (TensorFlops("deep", 1, 9), TensorFlops("top", 1, 9), TensorFlops("head", 0, 1))
    worth = {"deep": np.array(5.0), "top": np.array(1.0), "head": np.array(0.0)}

    class Map:
        head = (TensorInfo("head", (1,), "head", pretrained=True),)
        has_pretrained_head = keeps_head = False
        embedding = ()
        width = 32

    signals = Signals(0, 10, 10, measures={"importance": worth}, flops=entries, forward_flops=10, full_flops=10 * 31)
    # Of 31 a step 10 are the forward pass: rho 0.4 leaves 2.4, which is the top and what lies after it.
    plan = method_of(rho=0.4).plan(Map(), signals)
    assert [rule.pattern for rule in plan.rules] == ["head", "top"]
    assert [rule.pattern for rule in method_of(rho=0.7).plan(Map(), signals).rules] == ["head", "deep"]
