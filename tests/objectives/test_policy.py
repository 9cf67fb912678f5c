"""The formulas of policy optimisation, against values computed by hand and the properties that they must have."""

from __future__ import annotations

import math

import numpy as np
import pytest
import torch
from hypothesis import given, settings
from hypothesis import strategies as some

from tunewise.objectives.policy import (
    KlController,
    answer_losses,
    clipped_surrogate,
    generalised_advantages,
    group_advantages,
    items,
    k1,
    k3,
    leave_one_out_advantages,
    value_loss,
    whitened,
)

REWARDS = torch.tensor([[1.0, 2.0, 3.0, 6.0], [5.0, 5.0, 5.0, 5.0]])


def test_group_advantages_by_hand():
    found = group_advantages(REWARDS)
    std = math.sqrt(14 / 3)  # of 1, 2, 3, 6 with n - 1
    expected = torch.tensor([[-2.0, -1.0, 0.0, 3.0], [0.0, 0.0, 0.0, 0.0]]) / (std + 1e-4)
    assert torch.allclose(found, expected, atol=1e-6)
    assert torch.equal(group_advantages(REWARDS, scale=False)[0], torch.tensor([-2.0, -1.0, 0.0, 3.0]))
    assert torch.equal(group_advantages(torch.tensor([[4.0]])), torch.zeros(1, 1))


@settings(deadline=None)
@given(some.lists(some.floats(-3, 3), min_size=4, max_size=4), some.floats(0.5, 4), some.floats(-50, 50))
def test_group_advantages_do_not_see_scale_and_offset_of_rewards(rewards, scale, offset):
    rewards_NG = torch.tensor([rewards], dtype=torch.float64)
    if rewards_NG.std() < 0.1:
        return
    one, other = group_advantages(rewards_NG), group_advantages(scale * rewards_NG + offset)
    assert torch.allclose(one, other, atol=5e-3)  # but for the 1e-4 beside the standard deviation
    assert float(one.sum()) == pytest.approx(0, abs=1e-9)


@settings(deadline=None)
@given(some.lists(some.floats(-100, 100), min_size=2, max_size=8))
def test_leave_one_out_advantages(rewards):
    rewards_NG = torch.tensor([rewards], dtype=torch.float64)
    found = leave_one_out_advantages(rewards_NG)[0]
    by_hand = [r - (sum(rewards) - r) / (len(rewards) - 1) for r in rewards]
    assert found.tolist() == pytest.approx(by_hand, abs=1e-9)
    assert float(found.sum()) == pytest.approx(0, abs=1e-9)


def plain_gae(rewards, values, gamma, decay):
    """The sum of the paper: A_t = sum over l of (gamma decay)^l d_{t+l}."""
    behind = [*values[1:], 0.0]
    changes = [r + gamma * after - value for r, value, after in zip(rewards, values, behind, strict=True)]
    return [sum((gamma * decay) ** n * d for n, d in enumerate(changes[t:])) for t in range(len(changes))]


@pytest.mark.parametrize(("gamma", "decay"), [(1.0, 0.95), (0.9, 0.5), (1.0, 1.0), (0.99, 0.0)])
def test_generalised_advantages_are_the_published_sum(gamma, decay):
    generator = np.random.default_rng(0)
    lengths = [5, 1, 3]
    rewards, values = generator.normal(size=(3, 5)), generator.normal(size=(3, 5))
    held = np.arange(5) < np.array(lengths)[:, None]
    found = generalised_advantages(*map(torch.tensor, (rewards, values, held)), gamma, decay).numpy()
    for row, length in enumerate(lengths):
        assert found[row, :length] == pytest.approx(
            plain_gae(rewards[row, :length].tolist(), values[row, :length].tolist(), gamma, decay)
        )
        assert (found[row, length:] == 0).all()  # what stands behind the last token has no say, and no advantage


def test_without_decay_or_discount_an_advantage_is_the_rest_of_the_rewards_minus_the_value():
    rewards, values = torch.tensor([[0.0, 0.0, 2.0]]), torch.tensor([[0.5, -1.0, 3.0]])
    found = generalised_advantages(rewards, values, torch.ones(1, 3, dtype=torch.bool), 1.0, 1.0)
    assert torch.allclose(found + values, torch.tensor([[2.0, 2.0, 2.0]]))


def test_whitened():
    found = whitened(torch.tensor([1.0, 2.0, 3.0, 10.0]))
    assert float(found.mean()) == pytest.approx(0, abs=1e-6)
    assert float(found.std()) == pytest.approx(1, abs=1e-6)
    assert whitened(torch.tensor([7.0])).tolist() == [0.0]


@pytest.mark.parametrize(
    ("ratio", "advantage", "loss", "held"),
    [
        (1.5, 2.0, -2.4, True),  # no more than 1.2 is gained
        (1.5, -2.0, 3.0, False),  # a mistake counts whole
        (0.5, 2.0, -1.0, False),
        (0.5, -2.0, 1.6, True),
        (1.1, 1.0, -1.1, False),
    ],
)
def test_clipped_surrogate_by_hand(ratio, advantage, loss, held):
    log_ratio = torch.tensor([math.log(ratio)], requires_grad=True)
    found, where = clipped_surrogate(log_ratio, torch.tensor([advantage]))
    assert found.item() == pytest.approx(loss)
    assert where.item() is held
    found.sum().backward()
    assert log_ratio.grad.item() == pytest.approx(0.0 if held else -ratio * advantage)


def test_another_upper_limit():
    log_ratio = torch.tensor([math.log(1.25), math.log(1.4)])
    loss, held = clipped_surrogate(log_ratio, torch.ones(2), 0.2, 0.28)
    assert loss.tolist() == pytest.approx([-1.25, -1.28])
    assert held.tolist() == [False, True]


@settings(deadline=None)
@given(some.floats(-20, 0), some.floats(-20, 0))
def test_k3_is_never_below_zero(one, other):
    log_p, log_q = torch.tensor(one, dtype=torch.float64), torch.tensor(other, dtype=torch.float64)
    assert float(k3(log_p, log_q)) >= 0
    assert float(k3(log_p, log_p)) == 0


def test_both_estimates_have_the_mean_of_the_divergence():
    generator = torch.Generator().manual_seed(0)
    log_p, log_q = torch.randn(2, 6, generator=generator, dtype=torch.float64).log_softmax(1)
    exact = (log_p.exp() * (log_p - log_q)).sum()
    for estimate in (k1, k3):  # the expectation over what p draws, exactly
        assert float((log_p.exp() * estimate(log_p, log_q)).sum()) == pytest.approx(float(exact))


def test_value_loss_takes_the_larger_error():
    values, old, returns = torch.tensor([1.0, 0.1, 3.0]), torch.tensor([0.0, 0.0, 0.0]), torch.tensor([0.0, 1.0, 2.0])
    # 1 -> clipped 0.2: errors 1 and 0.04; 0.1 stays; 3 -> 0.2: errors 1 and 3.24
    assert value_loss(values, old, returns).tolist() == pytest.approx([0.5, 0.405, 1.62])
    assert value_loss(values, old, returns, None).tolist() == pytest.approx([0.5, 0.405, 0.5])


def test_how_losses_of_tokens_become_one():
    losses, answer = torch.tensor([1.0, 2.0, 3.0, 10.0]), torch.tensor([0, 0, 0, 1])
    lengths = torch.tensor([3, 1])

    def mean(normalise):
        total = answer_losses(losses, answer, 2, normalise).sum()
        return float(total / items(lengths, normalise, 8).sum())

    assert mean("dapo") == pytest.approx(16 / 4)
    assert mean("grpo") == pytest.approx((2 + 10) / 2)
    assert mean("dr_grpo") == pytest.approx(16 / (2 * 8))


def test_the_weight_of_the_kl_follows_its_target():
    adaptive = KlController(0.2, target=6.0, horizon=100)
    adaptive.update(6.3, answers=10)  # error 0.05
    assert adaptive.weight == pytest.approx(0.2 * (1 + 0.05 * 10 / 100))
    adaptive.update(600.0, answers=10)  # no more than 0.2 at once
    assert adaptive.weight == pytest.approx(0.2 * 1.005 * 1.02)
    adaptive.update(0.0, answers=10)
    assert adaptive.weight == pytest.approx(0.2 * 1.005 * 1.02 * 0.98)
    fixed = KlController(0.05)
    fixed.update(100.0, 64)
    assert fixed.weight == 0.05
