from __future__ import annotations

import math

import pytest
import torch
from torch import nn

from tunewise.engine.apply import TrainedTensor
from tunewise.engine.optim import Optimizer, schedule_factor
from tunewise.engine.settings import TrainConfig


def tensor(name: str, *shape: int, scale: float = 1.0, decay: float | None = None) -> TrainedTensor:
    return TrainedTensor(name, nn.Parameter(torch.ones(*shape)), scale, decay)


def test_linear_by_hand() -> None:
    factors = [schedule_factor(step, 10, 4, "linear") for step in range(10)]
    assert factors == pytest.approx([1 / 4, 2 / 4, 3 / 4, 1, 1, 5 / 6, 4 / 6, 3 / 6, 2 / 6, 1 / 6])


def test_cosine_by_hand() -> None:
    factors = [schedule_factor(step, 6, 2, "cosine") for step in range(6)]
    half = math.sqrt(0.5)
    assert factors == pytest.approx([0.5, 1, 1, (1 + half) / 2, 0.5, (1 - half) / 2])


def test_constant_by_hand() -> None:
    assert [schedule_factor(step, 5, 2, "constant") for step in range(5)] == [0.5, 1, 1, 1, 1]


def test_slanted_triangular_by_hand() -> None:
    """Howard and Ruder 2018, equation 3, with cut_frac 0.1 and ratio 32: cut = 2 of 20 steps."""
    factors = [schedule_factor(step, 20, 5, "slanted_triangular") for step in range(20)]
    p = [0, 1 / 2, *(1 - t / 18 for t in range(18))]
    assert factors == pytest.approx([(1 + each * 31) / 32 for each in p])
    assert factors[0] == 1 / 32 and factors[2] == max(factors) == 1


@pytest.mark.parametrize("total", [1, 2, 9, 10, 19, 30, 101])
def test_slanted_triangular_never_falls_below_its_floor(total: int) -> None:
    factors = [schedule_factor(step, total, 0, "slanted_triangular") for step in range(total)]
    assert min(factors) >= 1 / 32 and max(factors) == 1
    top = factors.index(1)
    assert top == total // 10
    assert factors[: top + 1] == sorted(factors[: top + 1])
    assert factors[top:] == sorted(factors[top:], reverse=True)


def test_a_plan_may_have_a_schedule_of_its_own() -> None:
    optimizer = Optimizer([tensor("w", 2)], 1.0, TrainConfig(warmup=0, schedule="linear"), 4, "constant")
    assert [optimizer.set_rates(step) for step in range(4)] == [1, 1, 1, 1]
    optimizer.regroup([tensor("v", 2)], 0.5, "cosine")
    assert optimizer.set_rates(2) == pytest.approx(0.25)
    optimizer.regroup([tensor("v", 2)], 0.5)
    assert optimizer.set_rates(1) == pytest.approx(0.375)  # that of the recipe again


def test_kept_elements_have_their_bits_back_and_no_gradient_or_moments() -> None:
    kept = torch.tensor([[True, False, True], [False, False, True]])
    parameter = nn.Parameter(torch.tensor([[-0.0, 1.0, 1e-30], [2.0, 3.0, 7.0]]))
    before = parameter.detach().clone()
    masked = TrainedTensor("w", parameter, 1.0, 0.5, kept)
    optimizer = Optimizer([masked], 0.1, TrainConfig(warmup=0, schedule="constant", max_grad_norm=1.0), 10)
    for _ in range(3):
        parameter.grad = torch.tensor([[3e9, 0.3, 5.0], [0.4, 0.0, float("inf")]])
        assert optimizer.clip() == pytest.approx(0.5)  # of what trains alone
        optimizer.step()
    assert torch.equal(parameter.detach()[kept].view(torch.int32), before[kept].view(torch.int32))
    assert (parameter.detach() != before)[~kept].all()  # 3.0, without a gradient, by weight decay
    for moment in ("exp_avg", "exp_avg_sq"):
        assert (optimizer.adamw.state[parameter][moment][kept] == 0).all()


def test_masks_end_with_the_phase() -> None:
    parameter = nn.Parameter(torch.ones(3))
    optimizer = Optimizer(
        [TrainedTensor("w", parameter, 1.0, None, torch.tensor([True, False, False]))],
        0.1,
        TrainConfig(warmup=0, schedule="constant"),
        10,
    )
    optimizer.regroup([TrainedTensor("w", parameter, 1.0, None)], 0.1)
    parameter.grad = torch.ones(3)
    optimizer.clip()
    optimizer.step()
    assert (parameter < 1).all()


def test_without_warmup_the_first_step_has_the_peak_rate() -> None:
    assert [schedule_factor(step, 4, 0, "linear") for step in range(4)] == [1, 0.75, 0.5, 0.25]


@pytest.mark.parametrize(
    ("warmup", "total", "steps"),
    [(0.1, 25, 3), (0.1, 30, 3), (0.07, 100, 7), (0, 9, 0), (1, 9, 1), (5, 9, 5), (0.5, 1, 1)],
)
def test_warmup_steps(warmup: float, total: int, steps: int) -> None:
    optimizer = Optimizer([tensor("w", 2, 2)], 1.0, TrainConfig(warmup=warmup), total)
    assert optimizer.warmup_steps == steps


def test_rates_and_decay_of_each_tensor() -> None:
    tensors = [
        tensor("w", 2, 2),
        tensor("b", 2),
        tensor("low", 2, 2, scale=0.25),
        tensor("given", 2, 2, decay=0.5),
        tensor("norm", 2, scale=0.25),
    ]
    optimizer = Optimizer(tensors, 0.8, TrainConfig(weight_decay=0.1, warmup=0, schedule="linear"), 4)
    assert optimizer.set_rates(1) == pytest.approx(0.6)
    found = {
        id(parameter): (group["lr"], group["weight_decay"])
        for group in optimizer.adamw.param_groups
        for parameter in group["params"]
    }
    wanted = {"w": (0.6, 0.1), "b": (0.6, 0.0), "low": (0.15, 0.1), "given": (0.6, 0.5), "norm": (0.15, 0.0)}
    for one in tensors:
        assert found[id(one.parameter)] == pytest.approx(wanted[one.name]), one.name


@pytest.mark.parametrize("limit", [1.0, 0.0, 10.0])
@pytest.mark.parametrize("fused", [True, False])
def test_clipping_is_that_of_torch(limit: float, fused: bool) -> None:
    """Four steps, of which two have a gradient longer than 1, against torch's own clipping and AdamW."""
    one, other = tensor("a", 3, 2), tensor("b", 5)
    config = TrainConfig(max_grad_norm=limit, weight_decay=0.0, warmup=0, schedule="constant")
    optimizer = Optimizer([one, other], 0.1, config, 4)
    optimizer.fused = fused
    plain = [nn.Parameter(each.parameter.detach().clone()) for each in (one, other)]
    adamw = torch.optim.AdamW(plain, lr=0.1, weight_decay=0.0)
    generator = torch.Generator().manual_seed(0)
    for length in (4.0, 0.01, 7.0, 0.5):
        for mine, theirs in zip((one, other), plain, strict=True):
            theirs.grad = length * torch.randn(theirs.shape, generator=generator)
            mine.parameter.grad = theirs.grad.clone()
        norm = torch.nn.utils.clip_grad_norm_(plain, limit or torch.inf)
        assert optimizer.clip() == pytest.approx(float(norm))
        optimizer.step()
        adamw.step()
    for mine, theirs in zip((one, other), plain, strict=True):
        assert torch.allclose(mine.parameter, theirs, rtol=1e-5, atol=1e-6)


def test_a_scaler_that_skips_the_step_leaves_the_weights() -> None:
    one = tensor("a", 3)
    before = one.parameter.detach().clone()
    optimizer = Optimizer([one], 1.0, TrainConfig(), 1)
    scaler = torch.amp.GradScaler("cpu", init_scale=2.0)
    scaler.scale(torch.tensor(1.0))
    one.parameter.grad = torch.tensor([1.0, float("inf"), 1.0])
    scaler.unscale_(optimizer.adamw)
    optimizer.clip()
    optimizer.step(scaler)
    assert torch.equal(one.parameter.detach(), before)


def stepped(optimizer: Optimizer, tensors: list[TrainedTensor], times: int) -> None:
    for number in range(times):
        optimizer.set_rates(number)
        for place, one in enumerate(tensors):
            one.parameter.grad = torch.full_like(one.parameter, 0.1 * (place + 1) + number)
        optimizer.adamw.step()


def test_stored_state_goes_on_bit_by_bit() -> None:
    config = TrainConfig(schedule="constant", warmup=0)
    tensors = [tensor("w", 3, 5), tensor("b", 7)]
    names = {one.name: one.parameter for one in tensors}
    optimizer = Optimizer(tensors, 0.01, config, 10)
    stepped(optimizer, tensors, 3)
    stored = {key: value.clone() for key, value in optimizer.state(names).items()}
    assert sorted(stored) == ["b|exp_avg", "b|exp_avg_sq", "b|step", "w|exp_avg", "w|exp_avg_sq", "w|step"]
    weights = {name: parameter.detach().clone() for name, parameter in names.items()}
    stepped(optimizer, tensors, 4)

    fresh = [TrainedTensor(one.name, nn.Parameter(weights[one.name]), 1.0, None) for one in tensors]
    again = Optimizer(fresh, 0.01, config, 10)
    again.load_state(stored, {one.name: one.parameter for one in fresh})
    assert all(
        value.data_ptr() != stored[key].data_ptr()
        for key, value in again.state({one.name: one.parameter for one in fresh}).items()
    )
    stepped(again, fresh, 4)
    for one, other in zip(tensors, fresh, strict=True):
        assert torch.equal(one.parameter, other.parameter)


def test_regroup_trains_other_tensors_and_forgets_nothing() -> None:
    head, block = tensor("head", 2, 2), tensor("block", 2, 2)
    optimizer = Optimizer([head], 0.01, TrainConfig(warmup=0, schedule="constant", weight_decay=0), 10)
    stepped(optimizer, [head], 2)
    moment = optimizer.adamw.state[head.parameter]["exp_avg"].clone()
    optimizer.regroup([head, block], 0.002)
    assert torch.equal(optimizer.adamw.state[head.parameter]["exp_avg"], moment)
    assert [group["peak"] for group in optimizer.adamw.param_groups] == [0.002]
    stepped(optimizer, [head, block], 1)
    assert int(optimizer.adamw.state[head.parameter]["step"]) == 3
    assert int(optimizer.adamw.state[block.parameter]["step"]) == 1
    block_before = block.parameter.detach().clone()
    optimizer.regroup([head], 0.002)
    stepped(optimizer, [head], 1)
    assert torch.equal(block.parameter, block_before)
