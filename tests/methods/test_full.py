"""`full`: one rate for all, or another for the output layers."""

from __future__ import annotations

from collections.abc import Callable
from pathlib import Path

from tunewise.engine.apply import choose_trained
from tunewise.models.load import load_net
from tunewise.models.locate import locate
from tunewise.recipe import MethodChoice
from tunewise.types import Schema, Signals


def scales(model: Path, folder: Path, options: dict[str, float]) -> dict[str, float]:
    net = load_net(locate(str(model), folder), Schema("regression", ("t",), "y"))
    plan = MethodChoice(name="full", options=options).build().plan(net.map, Signals())
    return {tensor.name: tensor.lr_scale for tensor in choose_trained(plan, net)}


def test_one_rate_for_all(tiny_model: Callable[..., Path], tmp_path: Path) -> None:
    assert set(scales(tiny_model("bert"), tmp_path, {"head_rate": 1}).values()) == {1.0}


def test_another_rate_for_the_output_layers(tiny_model: Callable[..., Path], tmp_path: Path) -> None:
    found = scales(tiny_model("bert"), tmp_path, {})
    head = {"bert.pooler.dense.weight", "bert.pooler.dense.bias", "classifier.weight", "classifier.bias"}
    assert {name for name, scale in found.items() if scale == 10} == head
    assert {scale for name, scale in found.items() if name not in head} == {1.0}
