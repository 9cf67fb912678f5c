"""Measurements against torch and transformers by themselves, and that they leave no trace."""

from __future__ import annotations

import copy
import math
from collections.abc import Callable, Iterator
from contextlib import nullcontext
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import torch
from torch import nn
from torch.nn import functional
from torch.utils.flop_counter import FlopCounterMode

from tunewise.data.tokenise import Tokens, tokenise
from tunewise.engine.apply import choose_trained, left_as_it_was
from tunewise.engine.course import Course
from tunewise.engine.measure import Measuring, angle
from tunewise.engine.optim import Optimizer
from tunewise.engine.settings import TrainConfig
from tunewise.engine.vocabulary import only_used_rows
from tunewise.errors import NonFiniteError
from tunewise.models.blocks import named_tensors
from tunewise.models.load import Net, load_net
from tunewise.models.locate import locate
from tunewise.objectives import ObjectiveConfig, make_objective
from tunewise.objectives.base import Loss
from tunewise.types import Need, Plan, Rule, Signals

KINDS = ["importance", "gradient_norm", "fisher", "angle"]
EMBEDDING = "bert.embeddings.word_embeddings.weight"


@dataclass
class Case:
    """A model on its way through a training: `step` steps of `plan` are done."""

    net: Net
    tokens: Tokens
    targets: torch.Tensor
    objective: Any
    course: Course
    optimizer: Optimizer | None = None
    step: int = 0

    def loss(self, rows: np.ndarray) -> Loss:
        return self.objective.loss(self.net.model(**self.tokens.batch(rows)).logits, self.targets[rows])

    def train(self, steps: int) -> None:
        plan = Plan((Rule("*.layer.1.*"), Rule("classifier.*"), Rule(EMBEDDING)), 3e-3)
        self.optimizer = Optimizer(choose_trained(plan, self.net), 3e-3, self.course.config, self.course.total_steps)
        for _ in range(steps):
            self.optimizer.set_rates(self.step)
            self.loss(self.course.rows(self.step)).mean.backward()
            self.optimizer.clip()
            self.optimizer.step()
            self.optimizer.adamw.zero_grad(set_to_none=True)
            self.step += 1

    def measuring(self, learning_rate: float = 1e-3, **changes: Any) -> Measuring:
        made = Measuring(self.net, self.loss, self.course, self.tokens, learning_rate, self.optimizer)
        made.step = self.step
        for name, value in changes.items():
            setattr(made, name, value)
        return made

    def state(self) -> dict[str, Any]:
        """All that a measurement could leave a trace in."""
        model = self.net.model
        moments = self.optimizer.state(named_tensors(model)) if self.optimizer else {}
        return {
            "random": torch.get_rng_state().clone(),
            **{f"weight {name}": parameter.detach().clone() for name, parameter in model.named_parameters()},
            **{f"buffer {name}": buffer.clone() for name, buffer in model.named_buffers()},
            **{f"moment {name}": value.clone() for name, value in moments.items()},
            **{f"trains {name}": parameter.requires_grad for name, parameter in model.named_parameters()},
            **{f"gradient {name}": parameter.grad for name, parameter in model.named_parameters()},
            **{f"mode {name}": module.training for name, module in model.named_modules()},
        }


def case_of(folder: Path, data: Any, dropout: float = 0.1, attention: str = "eager", **settings: Any) -> Case:
    net = load_net(locate(str(folder), folder), data.schema, dropout=dropout, attention=attention)
    tokens = tokenise(data.splits["train"].texts, net.tokenizer, net.max_length)
    config = TrainConfig(**{"batch_size": 8, "epochs": 2, "weight_decay": 0.1, **settings})
    return Case(
        net,
        tokens,
        torch.as_tensor(data.splits["train"].targets),
        make_objective(ObjectiveConfig(), data),
        Course(tokens.lengths, config, seed=5),
    )


@pytest.fixture
def case(tiny_model: Callable[..., Path], toy_data: Callable[..., Any]) -> Case:
    return case_of(tiny_model("bert", 2), toy_data(train=24))


def gradients(model: nn.Module, loss: torch.Tensor) -> dict[str, torch.Tensor]:
    named = {name: parameter for name, parameter in model.named_parameters() if parameter.requires_grad}
    found = torch.autograd.grad(loss, list(named.values()), allow_unused=True)
    return {
        name: torch.zeros_like(parameter) if gradient is None else gradient
        for (name, parameter), gradient in zip(named.items(), found, strict=True)
    }


def peer_loss(model: nn.Module, case: Case, rows: Any) -> torch.Tensor:
    """Mean cross-entropy by torch, not by our objective."""
    return functional.cross_entropy(model(**case.tokens.batch(rows)).logits, case.targets[rows])


def peer_of(case: Case) -> nn.Module:
    peer = copy.deepcopy(case.net.model).eval()
    for parameter in peer.parameters():
        parameter.requires_grad_(True)
    return peer


# ---------------------------------------------------------------- no trace


def equal(before: dict[str, Any], after: dict[str, Any]) -> None:
    assert before.keys() == after.keys()
    for key, value in before.items():
        same = torch.equal(value, after[key]) if torch.is_tensor(value) else value is after[key]
        assert same, key


@pytest.mark.parametrize("kind", KINDS)
@pytest.mark.parametrize("wrapped", [True, False])
def test_half_way_through_a_training_nothing_is_left_behind(kind: str, wrapped: bool, case: Case) -> None:
    with only_used_rows(case.net.model, case.tokens) if wrapped else nullcontext():
        case.train(3)
        case.net.model.classifier.bias.grad = torch.ones(3)  # whatever was there
        before = case.state()
        values = case.measuring().measure([Need(kind, batches=2)])[kind]
        equal(before, case.state())
        assert values.keys() == {tensor.name for tensor in case.net.map.tensors}
        case.train(1)


@pytest.mark.parametrize("family", ["gpt2", "llama", "t5", "modernbert"])
def test_before_the_first_step_nothing_is_left_behind(
    family: str, tiny_model: Callable[..., Path], toy_data: Callable[..., Any]
) -> None:
    case = case_of(tiny_model(family, 2), toy_data(train=24), attention=None)
    before = case.state()
    signals = case.measuring().fill(Signals(0, 6, 3), [Need(kind) for kind in KINDS])
    equal(before, case.state())
    for kind in KINDS:
        assert signals.measures[kind].keys() == {tensor.name for tensor in case.net.map.tensors}
        assert sum(float(np.abs(value).sum()) > 0 for value in signals.measures[kind].values()) > 10
    assert signals.full_flops > 3 * signals.forward_flops > 0


def test_nothing_is_left_behind_where_it_fails(case: Case) -> None:
    case.train(2)
    before, calls = case.state(), []

    def loss(rows: np.ndarray) -> Loss:
        calls.append(rows)
        if len(calls) == 2:
            raise RuntimeError("no memory")
        return case.loss(rows)

    with pytest.raises(RuntimeError, match="no memory"):
        case.measuring(loss=loss).measure([Need("angle", batches=3)])
    equal(before, case.state())


def test_a_training_goes_on_as_if_nothing_had_been_measured(case: Case) -> None:
    def trained(measured: bool) -> dict[str, Any]:
        with left_as_it_was(case.net.model), only_used_rows(case.net.model, case.tokens):
            case.step = 0
            torch.manual_seed(0)
            case.train(2)
            if measured:
                case.measuring().measure([Need(kind) for kind in KINDS])
            case.train(2)
            return case.state()

    equal({**trained(True)}, {**trained(False)})


# ---------------------------------------------------------------- values


def test_importance_of_the_first_step_is_that_of_a_step_by_torch(case: Case) -> None:
    found = case.measuring(2e-3).measure([Need("importance", batches=3)])["importance"]  # all 24 rows
    check_importance(case, found, peer_of(case), {}, rate=2e-3)


def test_importance_goes_on_from_the_moments_and_the_rate_of_the_run(case: Case) -> None:
    case.train(3)
    moments = {
        name: parameter
        for name, parameter in named_tensors(case.net.model).items()
        if parameter in case.optimizer.adamw.state
    }
    assert len(moments) > 10
    state = {name: case.optimizer.adamw.state[parameter] for name, parameter in moments.items()}
    found = case.measuring(2e-3).measure([Need("importance", batches=3)])["importance"]
    check_importance(case, found, peer_of(case), state, rate=2e-3 * case.optimizer.factor(3))


def check_importance(case: Case, found: dict[str, Any], peer: nn.Module, state: dict[str, Any], rate: float) -> None:
    rows = range(len(case.tokens))
    named = dict(peer.named_parameters())
    decayed = [p for name, p in named.items() if p.ndim > 1 and "embeddings" not in name]
    plain = [p for p in named.values() if all(p is not other for other in decayed)]
    adamw = torch.optim.AdamW(
        [{"params": decayed, "weight_decay": 0.1}, {"params": plain, "weight_decay": 0.0}], lr=rate
    )
    for name, values in state.items():
        adamw.state[named[name]] = {key: value.clone() for key, value in values.items()}
    before = {name: parameter.detach().clone() for name, parameter in named.items()}
    for name, gradient in gradients(peer, peer_loss(peer, case, rows)).items():
        named[name].grad = gradient
    nn.utils.clip_grad_norm_(peer.parameters(), 1.0)
    adamw.step()
    after = gradients(peer, peer_loss(peer, case, rows))
    wanted = {name: -float(((named[name].detach() - before[name]) * after[name]).double().sum()) for name in named}
    assert found.keys() == wanted.keys()
    largest = max(map(abs, wanted.values()))
    for name, value in wanted.items():
        assert float(found[name]) == pytest.approx(value, rel=2e-4, abs=2e-6 * largest), name


def per_sample_fisher(case: Case) -> dict[str, torch.Tensor]:
    peer = peer_of(case)
    sums = {name: torch.zeros_like(parameter) for name, parameter in peer.named_parameters()}
    for row in range(len(case.tokens)):
        for name, gradient in gradients(peer, peer_loss(peer, case, [row])).items():
            sums[name] += gradient**2
    return {name: total / len(case.tokens) for name, total in sums.items()}


@pytest.mark.parametrize("wrapped", [True, False])
def test_fisher_is_that_of_a_loop_over_single_rows(wrapped: bool, case: Case) -> None:
    wanted = per_sample_fisher(case)
    with only_used_rows(case.net.model, case.tokens) if wrapped else nullcontext():
        found = case.measuring().measure([Need("fisher", batches=99)])["fisher"]
    assert found.keys() == wanted.keys()
    for name, value in wanted.items():
        torch.testing.assert_close(
            torch.from_numpy(found[name]), value, rtol=1e-6, atol=1e-6 * float(value.max()), msg=name
        )
    assert float(found[EMBEDDING].sum()) > 0 and found[EMBEDDING].shape == (200, 32)


def test_fisher_of_some_tensors_and_some_rows(case: Case) -> None:
    need = Need("fisher", 1, ("*LayerNorm.weight",))
    measuring = case.measuring()
    found = measuring.measure([need])["fisher"]
    assert len(found) == 5 and all(name.endswith("LayerNorm.weight") for name in found)
    rows = measuring._rows(need)
    assert len(set(rows)) == 8
    peer = peer_of(case)
    name = "bert.encoder.layer.0.output.LayerNorm.weight"
    wanted = torch.stack([gradients(peer, peer_loss(peer, case, [row]))[name] ** 2 for row in rows]).mean(0)
    torch.testing.assert_close(torch.from_numpy(found[name]), wanted, rtol=1e-5, atol=1e-9)


@pytest.mark.parametrize("accumulate", [1, 2])
def test_gradient_norm_is_that_of_all_rows_at_once(
    accumulate: int, tiny_model: Callable[..., Path], toy_data: Callable[..., Any]
) -> None:
    """However the rows are cut into batches of unequal sizes."""
    case = case_of(tiny_model("bert", 2), toy_data(train=22), accumulate=accumulate)
    found = case.measuring().measure([Need("gradient_norm", batches=3)])["gradient_norm"]
    peer = peer_of(case)
    wanted = gradients(peer, peer_loss(peer, case, range(22)))
    for name, gradient in wanted.items():
        assert float(found[name]) == pytest.approx(float(gradient.norm()), rel=1e-4, abs=1e-6), name


def test_angle_is_that_of_full_fine_tuning(case: Case) -> None:
    """Against the weights that steps of torch's own optimiser leave, at the peak rate in spite of the warm-up."""
    for module in case.net.model.modules():
        if isinstance(module, nn.Dropout):
            module.p = 0.0
    measuring = case.measuring(2e-3)
    rows = measuring._rows(Need("angle", 2), repeat=True)
    found = measuring.measure([Need("angle", batches=2)])["angle"]
    peer = peer_of(case)
    before = {name: parameter.detach().clone() for name, parameter in peer.named_parameters()}
    groups = [
        {
            "params": [p for n, p in peer.named_parameters() if p.ndim > 1 and "embeddings" not in n],
            "weight_decay": 0.1,
        },
        {"params": [p for n, p in peer.named_parameters() if p.ndim == 1 or "embeddings" in n], "weight_decay": 0.0},
    ]
    adamw = torch.optim.AdamW(groups, lr=2e-3)
    for part in (rows[:8], rows[8:]):
        adamw.zero_grad()
        peer_loss(peer, case, part).backward()
        nn.utils.clip_grad_norm_(peer.parameters(), 1.0)
        adamw.step()
    for name, parameter in peer.named_parameters():
        one, other = before[name].double().flatten(), parameter.detach().double().flatten()
        if one.norm() == 0:
            assert float(found[name]) in (0.0, math.pi / 2)
            continue
        wanted = math.acos(min(1.0, float(one @ other / (one.norm() * other.norm()))))
        assert float(found[name]) == pytest.approx(wanted, rel=1e-3, abs=1e-6), name
    assert max(map(float, found.values())) > 0.01


def test_angle_by_hand() -> None:
    x, y = torch.tensor([[3.0, 0.0]]), torch.tensor([[2.0, 2.0]])
    assert angle(x, y) == pytest.approx(math.pi / 4, rel=1e-12)
    assert angle(x, -x) == pytest.approx(math.pi, rel=1e-12)
    assert angle(x, torch.tensor([[0.0, 5.0]])) == pytest.approx(math.pi / 2, rel=1e-12)
    small = torch.tensor([1.0, 1e-6], dtype=torch.float64)
    assert angle(torch.tensor([1.0, 0.0], dtype=torch.float64), small) == pytest.approx(1e-6, rel=1e-9)


def test_angle_identities() -> None:
    torch.manual_seed(0)
    for _ in range(20):
        one, other = torch.randn(7, 5), torch.randn(7, 5)
        assert angle(one, one) == 0.0
        for scale in (1e-6, 0.3, 7.0, 1e8):
            assert angle(one, other * scale) == pytest.approx(angle(one, other), rel=1e-6)
            assert angle(one * scale, other) == pytest.approx(angle(one, other), rel=1e-6)
        assert angle(one, other) == angle(other, one)
        cosine = functional.cosine_similarity(one.flatten().double(), other.flatten().double(), dim=0)
        assert angle(one, other) == pytest.approx(math.acos(float(cosine)), rel=1e-12)


def test_angle_of_zero_tensors_is_defined() -> None:
    zero, one = torch.zeros(4), torch.ones(4)
    assert angle(zero, zero) == 0.0
    assert angle(zero, one) == angle(one, zero) == math.pi / 2


# ---------------------------------------------------------------- rows, counts, errors


def test_rows_follow_from_seed_and_step(case: Case) -> None:
    need, measuring = Need("fisher", 2), case.measuring()
    rows = measuring._rows(need)
    assert len(rows) == len(set(rows)) == 16
    assert np.array_equal(rows, case.measuring()._rows(need))
    assert not np.array_equal(rows, case.measuring(step=1)._rows(need))
    assert sorted(measuring._rows(Need("fisher", 50))) == list(range(24))
    assert len(measuring._rows(Need("angle", 50), repeat=True)) == 400


def test_the_same_measurement_gives_the_same_numbers(case: Case) -> None:
    for kind in KINDS:
        first, second = (case.measuring().measure([Need(kind)])[kind] for _ in range(2))
        assert all(np.array_equal(first[name], second[name]) for name in first), kind


@pytest.mark.parametrize("kind", KINDS)
def test_flops_are_those_that_torch_counts(kind: str, case: Case) -> None:
    measuring = case.measuring()
    with FlopCounterMode(display=False) as counter:
        measuring.measure([Need(kind, 2, ("*output.dense.weight",))])
    assert measuring.forward_flops + measuring.backward_flops == counter.get_total_flops() > 0


def test_flops_of_the_steps_to_come(case: Case) -> None:
    """Their mean times their number is what the steps cost, padding and the smaller last batch included."""
    case.step = 4
    signals = case.measuring().fill(Signals(4, case.course.total_steps, 3), [Need("gradient_norm")])
    model = peer_of(case)
    for first, told in ((4, None), (0, signals.full_flops)):
        with FlopCounterMode(display=False) as counter:
            for step in range(first, case.course.total_steps):
                peer_loss(model, case, case.course.rows(step)).backward()
        if told is None:
            told = (case.course.total_steps - first) * (
                signals.forward_flops + sum(entry.weight + entry.input for entry in signals.flops)
            )
        assert told == pytest.approx(counter.get_total_flops(), rel=1e-12)


def test_what_is_not_finite_is_said(case: Case) -> None:
    def loss(rows: np.ndarray) -> Loss:
        loss = case.loss(rows)
        return Loss(loss.total * math.nan, loss.n_items)

    with pytest.raises(NonFiniteError, match=r"gradient_norm of bert.* measured before step 1, is not finite"):
        case.measuring(loss=loss).measure([Need("gradient_norm")])


def modes_seen(case: Case) -> Iterator[bool]:
    for module in case.net.model.modules():
        if isinstance(module, nn.Dropout):
            yield module.training


@pytest.mark.parametrize(("kind", "dropout"), [("importance", False), ("fisher", False), ("angle", True)])
def test_dropout_is_off_but_where_a_short_training_is_measured(kind: str, dropout: bool, case: Case) -> None:
    seen: set[bool] = set()

    def loss(rows: np.ndarray) -> Loss:
        seen.update(modes_seen(case))
        return case.loss(rows)

    case.measuring(loss=loss).measure([Need(kind)])
    assert seen == {dropout}
