"""The control of what training did to the loss, on a net whose loss is known."""

from __future__ import annotations

from copy import deepcopy
from types import SimpleNamespace

import torch
from torch import nn

from tunewise.conformance.by_chance import change_by_chance
from tunewise.models.blocks import named_tensors


def net(weights: torch.Tensor) -> SimpleNamespace:
    model = nn.Linear(len(weights), 1, bias=False)
    with torch.no_grad():
        model.weight.copy_(weights)
    return SimpleNamespace(model=model)


def linear_loss(at: SimpleNamespace) -> float:
    """The gradient is 1 everywhere."""
    return float(at.model.weight.detach().sum())


def test_a_step_down_the_gradient_beats_chance_by_far():
    """1,000 numbers move by 0.01: 10 down the gradient, and about 0.01 x sqrt(1,000) = 0.3 in a random direction."""
    start = net(torch.zeros(1000))
    chance = change_by_chance(start, net(torch.full((1000,), -0.01)), linear_loss, seed=0)
    assert 0.1 < chance < 1.2


def test_a_step_at_random_does_not():
    torch.manual_seed(1)
    beaten = 0
    for seed in range(100):
        trained = net(0.01 * torch.randn(1000))
        start = net(torch.zeros(1000))
        beaten += linear_loss(start) - linear_loss(trained) > 1.5 * change_by_chance(start, trained, linear_loss, seed)
    assert beaten <= 5


def test_tensors_that_did_not_move_stay_and_the_start_is_left_as_it_was():
    start = SimpleNamespace(model=nn.Sequential(nn.Linear(3, 3), nn.Linear(3, 3)))
    before = deepcopy(start.model.state_dict())
    trained = deepcopy(start)
    with torch.no_grad():
        trained.model[1].weight.add_(1.0)
    seen = []

    def loss(at: SimpleNamespace) -> float:
        seen.append({name: tensor.detach().clone() for name, tensor in named_tensors(at.model).items()})
        return float(at.model[1].weight.detach().sum())

    change_by_chance(start, trained, loss, seed=0)
    assert len(seen) == 9  # as it was, and 8 draws
    assert all(torch.equal(now["0.weight"], before["0.weight"]) for now in seen)
    assert all(torch.allclose((now["1.weight"] - before["1.weight"]).abs(), torch.ones(3, 3)) for now in seen[1:])
    assert all(torch.equal(tensor, before[name]) for name, tensor in start.model.state_dict().items())
