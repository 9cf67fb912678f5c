"""Each check of the conformance suite tells a method that breaks what it is about, and no other."""

from __future__ import annotations

from dataclasses import replace
from pathlib import Path

import numpy as np
import pytest
import torch
from pydantic import Field
from torch import nn

from tunewise.conformance import checks
from tunewise.conformance.bench import Bench
from tunewise.conformance.checks import Outcome, conform
from tunewise.engine import apply
from tunewise.methods import METHODS, Method, MethodConfig
from tunewise.methods.full import Full
from tunewise.methods.head import Head
from tunewise.methods.lora import Lora
from tunewise.models.masks import mask_of
from tunewise.types import ModelMap, ModuleInsert, Plan, Rule, Signals

RANDOM = np.random.default_rng()  # not seeded


@pytest.fixture(scope="session")
def bench(tmp_path_factory: pytest.TempPathFactory) -> Bench:
    return Bench.make("distilbert", tmp_path_factory.mktemp("bench"))


@pytest.fixture
def outcome(bench: Bench, tmp_path: Path, monkeypatch: pytest.MonkeyPatch):
    def try_it(kind: type[Method]) -> Outcome:
        monkeypatch.setitem(METHODS, kind.name, kind)
        return conform(kind, bench, tmp_path)

    return try_it


class Wrapped(nn.Module):
    """A linear layer that a broken method has put its hands on."""

    def __init__(self, module: nn.Module):
        super().__init__()
        self.base_layer = module

    def forward(self, hidden: torch.Tensor) -> torch.Tensor:
        return self.base_layer(hidden)


class Shifting(Wrapped):
    def forward(self, hidden: torch.Tensor) -> torch.Tensor:
        return super().forward(hidden) * 1.1


class Leaking(Wrapped):
    def forward(self, hidden: torch.Tensor) -> torch.Tensor:
        if self.training:
            with torch.no_grad():
                self.base_layer.bias.mul_(0.999).add_(1e-6)
        return super().forward(hidden)


class Counting(Wrapped):
    def __init__(self, module: nn.Module):
        super().__init__(module)
        self.register_buffer("count", torch.zeros(()))

    def forward(self, hidden: torch.Tensor) -> torch.Tensor:
        self.count += int(self.training)
        return super().forward(hidden)


class Rolling(Wrapped):
    def forward(self, hidden: torch.Tensor) -> torch.Tensor:
        return super().forward(hidden) * (1 + int(self.training) * float(RANDOM.normal(scale=0.01)))


class Forgetting(Wrapped):
    """What it has learned is in no tensor, so that nothing saves it."""

    def __init__(self, module: nn.Module):
        super().__init__(module)
        self.scale = 1.0

    def forward(self, hidden: torch.Tensor) -> torch.Tensor:
        self.scale += 0.01 * int(self.training)
        return super().forward(hidden) * self.scale


def shifting(module: nn.Module) -> nn.Module:
    return Shifting(module)


def leaking(module: nn.Module) -> nn.Module:
    return Leaking(module)


def counting(module: nn.Module) -> nn.Module:
    return Counting(module)


def rolling(module: nn.Module) -> nn.Module:
    return Rolling(module)


def forgetting(module: nn.Module) -> nn.Module:
    return Forgetting(module)


def with_insert(build: str) -> type[Method]:
    """A method that trains the head, after putting something into the top block."""

    class Inserting(Head):
        name = "inserting"
        handover = "tunewise"

        def plan(self, model: ModelMap, signals: Signals) -> Plan:
            insert = ModuleInsert(f"{__name__}:{build}", (model.blocks[-1].linear[-1],))
            plan = super().plan(model, signals)
            return replace(plan, rules=(*plan.rules, Rule(f"{model.blocks[-1].path}.attention.*")), inserts=(insert,))

    return Inserting


class Idle(Head):
    name = "idle"

    def plan(self, model: ModelMap, signals: Signals) -> Plan:
        plan = super().plan(model, signals)
        return replace(plan, rules=(*plan.rules, Rule("nonsuch.*")))


class Nothing(Head):
    name = "nothing"

    def plan(self, model: ModelMap, signals: Signals) -> Plan:
        return replace(super().plan(model, signals), rules=(Rule("nonsuch.*"),))


class Unmasked(Head):
    """Half of its output layer stays."""

    name = "unmasked"

    def plan(self, model: ModelMap, signals: Signals) -> Plan:
        last = model.head[-1]
        half = mask_of(last.name, np.arange(last.size).reshape(last.shape) % 2 == 0)
        return replace(super().plan(model, signals), masks=(half,))


class Wordy(Head):
    name = "wordy"

    def plan(self, model: ModelMap, signals: Signals) -> Plan:
        return replace(super().plan(model, signals), reset=["nonsuch"])


class Slow(Full):
    name = "slow"

    def learning_rate(self, model: ModelMap) -> float:
        return 1e-9


class Crashing(Head):
    name = "crashing"

    def plan(self, model: ModelMap, signals: Signals) -> Plan:
        raise KeyError("no such thing")


class Refusing(Head):
    name = "refusing"
    instead = "lora"

    def plan(self, model: ModelMap, signals: Signals) -> Plan:
        self.refuse("the model is too small")


class Stranded(Refusing):
    name = "stranded"
    instead = "nonsuch"


class MergeConfig(MethodConfig):
    merge: bool = Field(default=False)
    """Has no effect."""


class Unmerged(Head):
    name = "unmerged"
    Config = MergeConfig


class NeverMerged(Lora):
    name = "never_merged"

    def plan(self, model: ModelMap, signals: Signals) -> Plan:
        if self.config.merge:
            self.refuse("its updates depend on the row")
        return super().plan(model, signals)


BROKEN = {
    Nothing: ("it trains, or says why not", "the plan trains nothing in a 'distilbert' model"),
    Crashing: ("it trains, or says why not", "KeyError: 'no such thing'"),
    Stranded: ("it trains, or says why not", "'nonsuch' as the nearest method"),
    Idle: ("its plans are plain data, and every rule matches a tensor", "no tensor has a name like nonsuch.*"),
    Wordy: ("its plans are plain data, and every rule matches a tensor", "reads back as another"),
    with_insert("leaking"): ("what no plan names stays bit for bit", "ffn.lin2.bias is in no plan, yet it changed"),
    with_insert("counting"): ("what no plan names stays bit for bit", "the buffer distilbert.transformer.layer.3.ffn"),
    with_insert("shifting"): ("it starts from the base model's output", "the outputs differ by"),
    Slow: ("the loss falls", "before the training and is"),
    with_insert("rolling"): ("the same seed gives the same losses and outputs", "step 1 had a loss of"),
    with_insert("forgetting"): ("the model handed over gives the same outputs", "the outputs differ by"),
    Unmerged: ("the merged model gives the same outputs, or merging is refused", "the option merge changes nothing"),
}


@pytest.mark.parametrize(("kind", "expected"), BROKEN.items(), ids=range(len(BROKEN)))
def test_a_broken_method_fails_the_check_that_is_about_it(kind, expected, outcome):
    found = outcome(kind)
    assert (found.status, found.check) == ("failed", expected[0])
    assert expected[1] in found.reason
    assert found.method == kind.name and found.model == "distilbert" and found.seconds > 0


def test_a_method_that_does_not_promise_to_start_unchanged_may_change(outcome):
    kind = with_insert("shifting")
    kind.starts_unchanged = False
    assert outcome(kind).status == "works"


def test_a_refusal_has_its_reason_and_the_nearest_method(outcome):
    found = outcome(Refusing)
    assert (found.status, found.reason, found.instead) == ("refused", "the model is too small", "lora")
    assert found.check is None


def test_elements_that_a_mask_keeps_from_training_stay(outcome, monkeypatch):
    assert outcome(Unmasked).status == "works"
    monkeypatch.setattr(apply, "_kept", lambda mask, parameter, model: None)
    found = outcome(Unmasked)
    assert found.check == "what no plan names stays bit for bit" and "that no mask lets train" in found.reason


def test_merging_is_equal_or_refused_or_not_offered(outcome):
    assert outcome(Lora).merge == "equal"
    assert outcome(NeverMerged).merge == "its updates depend on the row"
    assert outcome(Head).merge is None


def test_a_merged_model_that_is_another_is_told(outcome, monkeypatch):
    real = checks.save_model

    def rough(trained, kind, *rest, **options):
        if kind == "transformers":
            with torch.no_grad():
                next(p for name, p in trained.net.model.named_parameters() if "lora_B" in name).mul_(1.1)
        return real(trained, kind, *rest, **options)

    monkeypatch.setattr(checks, "save_model", rough)
    found = outcome(Lora)
    assert found.check == "the merged model gives the same outputs, or merging is refused"


def test_a_recipe_that_reads_back_as_another_is_told(outcome, monkeypatch):
    real = checks.write_recipe
    monkeypatch.setattr(checks, "write_recipe", lambda recipe: real(recipe).replace("rank: 16", "rank: 17"))
    found = outcome(Lora)
    assert found.check == "a recipe with it survives being written and read" and "'rank': 16" in found.reason


def test_equal_means_to_a_share_of_the_largest_output():
    wanted = np.array([[0.0, 100.0]])
    checks._same(wanted + 0.9e-3, wanted, 1e-5)
    with pytest.raises(ValueError, match=r"differ by 0.0011, the largest being 100"):
        checks._same(wanted + 1.1e-3, wanted, 1e-5)
    with pytest.raises(ValueError, match="differ by nan"):
        checks._same(np.array([[np.nan, 1.0]]), wanted, 1e-5)
