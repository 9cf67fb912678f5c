"""Adaptive back-propagation: that the budget holds by torch's own count, and that the rest stays still."""

from __future__ import annotations

from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest
import torch
from torch.utils.flop_counter import FlopCounterMode
from training_bench import Setup, set_up

from tunewise.engine.events import Observer, Planned, Step
from tunewise.engine.optim import Optimizer
from tunewise.engine.train import Trained


class Watch(Observer):
    def __init__(self) -> None:
        self.planned: list[Planned] = []
        self.steps: list[Step] = []

    def on_planned(self, event: Planned) -> None:
        self.planned.append(event)

    def on_step(self, event: Step) -> None:
        self.steps.append(event)


def train(
    folder: Path, data: Any, tmp_path: Path, method: str, *, epochs: int = 2, **options: Any
) -> tuple[Setup, Trained, Watch]:
    """A training without dropout and cache, that validates at its end only."""
    watch, place = Watch(), tmp_path / f"{method}{len(list(tmp_path.iterdir()))}"
    place.mkdir()
    settings = {"epochs": epochs, "evaluate_every": 10**6, "dropout": 0.0, "cache": False}
    setup = set_up(folder, data, place, method, options=options, observers=[watch], **settings)
    setup.net.model.set_attn_implementation("eager")  # whose products torch counts on every machine
    return setup, setup.train(), watch


def test_measured_flops_stay_within_the_budget(
    tiny_model: Callable[..., Path], toy_data: Callable[..., Any], tmp_path: Path
) -> None:
    """Those of measurements and of all steps, by torch's count, against full fine-tuning on the same batches."""
    data, folder = toy_data(train=160, held_out=6), tiny_model("bert", 2)
    with FlopCounterMode(display=False) as counter:
        _, full, _ = train(folder, data, tmp_path, "full")
    whole = full.forward_flops + full.backward_flops
    validation = counter.get_total_flops() - whole
    assert 0 < validation < 0.01 * whole
    with FlopCounterMode(display=False) as counter:
        _, trained, _ = train(folder, data, tmp_path, "adaptive", rho=0.6)
    spent = counter.get_total_flops() - validation
    # Our own count takes attention for whole where torch leaves a part out.
    assert spent <= trained.forward_flops + trained.backward_flops <= 0.6 * whole
    assert spent > 0.5 * whole


@pytest.mark.parametrize(("family", "rho"), [("bert", 0.45), ("gpt2", 0.5), ("t5", 0.5), ("llama", 0.7)])
def test_the_budget_holds_and_is_made_use_of(
    family: str, rho: float, tiny_model: Callable[..., Path], toy_data: Callable[..., Any], tmp_path: Path
) -> None:
    data, folder = toy_data(train=320), tiny_model(family)
    (_, full, _), (_, trained, watch) = (
        train(folder, data, tmp_path, method, **options)
        for method, options in (("full", {}), ("adaptive", {"rho": rho}))
    )
    whole = full.forward_flops + full.backward_flops
    assert trained.forward_flops + trained.backward_flops <= rho * whole
    assert trained.backward_flops <= (3 * rho - 1) / 2 * full.backward_flops * 1.02  # the head adds a little to 3
    assert trained.backward_flops > 0.6 * (3 * rho - 1) / 2 * full.backward_flops
    assert watch.planned[0].measuring_flops > 0


def test_flops_are_told_step_by_step(tiny_bert: Path, toy_data: Callable[..., Any], tmp_path: Path) -> None:
    setup, trained, watch = train(tiny_bert, toy_data(), tmp_path, "adaptive", epochs=3, rho=1.0, interval=1)
    assert [event.step for event in watch.planned] == [0, 6, 12]
    measured = [event.measuring_flops for event in watch.planned]
    assert measured == sorted(measured) and measured[0] > 0
    steps = sum(event.forward_flops + event.backward_flops for event in watch.steps)
    assert steps + measured[-1] == pytest.approx(trained.forward_flops + trained.backward_flops, rel=1e-12)
    rows = setup.log()
    assert [row["measuring_flops"] for row in rows if row["event"] == "planned"] == measured
    assert all(row["backward_flops"] > 0 for row in rows if row["event"] == "step")


def test_what_is_not_chosen_has_no_gradient_and_stays(
    tiny_bert: Path, toy_data: Callable[..., Any], tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    seen: list[tuple[set[str], set[str]]] = []
    real = Optimizer.clip

    def clip(self: Optimizer) -> float:
        with_gradient = {name for name, p in setups[0].net.model.named_parameters() if p.grad is not None}
        seen.append(({tensor.name for tensor in self.tensors}, with_gradient))
        return real(self)

    setups = [
        set_up(tiny_bert, toy_data(train=96), tmp_path, "adaptive", options={"rho": 0.6}, epochs=3, keep_best=False)
    ]
    before = setups[0].weights
    monkeypatch.setattr(Optimizer, "clip", clip)
    setups[0].train()
    measured, *steps = seen
    assert len(measured[0]) == len(before)  # all tensors take the measured step
    assert len(steps) == 36 and all(chosen == found for chosen, found in steps)
    chosen = set().union(*(names for names, _ in steps))
    assert 6 < len(chosen) < len(before)
    after = setups[0].weights
    for name, tensor in before.items():
        if not name.endswith("key.bias"):  # whose gradient is rounding, or nothing
            assert torch.equal(tensor, after[name]) == (name not in chosen), name


def test_an_encoder_counts_as_below_all_of_its_decoder(
    tiny_model: Callable[..., Path], toy_data: Callable[..., Any], tmp_path: Path
) -> None:
    _, trained, _ = train(tiny_model("t5", 2), toy_data(train=96), tmp_path, "adaptive", epochs=4)
    names = [rule["pattern"] for entry in trained.plans for rule in entry["rules"]]
    assert any("decoder" in name for name in names) and not any("encoder.block.0." in name for name in names)
