"""What R-Drop adds to the loss: KL in both directions, against torch and by hand."""

from __future__ import annotations

import math
from collections.abc import Callable
from typing import Any

import numpy as np
import pytest
import torch
from torch.nn import functional

from tunewise.errors import RecipeError
from tunewise.objectives import ObjectiveConfig, make_objective
from tunewise.objectives.divergence import binary_divergence_sum, divergence_sum

GENERATOR = torch.Generator().manual_seed(3)


def random(*shape: int) -> torch.Tensor:
    return torch.randn(shape, generator=GENERATOR) * 3


def both_ways(one: torch.Tensor, other: torch.Tensor) -> torch.Tensor:
    """(N,): as the authors' code has it."""
    p, q = one.log_softmax(-1), other.log_softmax(-1)
    there = functional.kl_div(p, q.exp(), reduction="none").sum(-1)
    back = functional.kl_div(q, p.exp(), reduction="none").sum(-1)
    return (there + back) / 2


def test_by_hand() -> None:
    """p = (3/4, 1/4), q = (1/2, 1/2): KL(p||q) = 0.1308, KL(q||p) = 0.1438."""
    one, other = torch.tensor([[math.log(3), 0.0]]), torch.zeros(1, 2)
    forward = 0.75 * math.log(1.5) + 0.25 * math.log(0.5)
    back = 0.5 * math.log(2 / 3) + 0.5 * math.log(2)
    assert (forward, back) == (pytest.approx(0.1308, abs=1e-4), pytest.approx(0.1438, abs=1e-4))
    found = divergence_sum(one, other, torch.tensor([0]), None)
    assert float(found) == pytest.approx((forward + back) / 2, rel=1e-6)
    label = binary_divergence_sum(torch.tensor([[math.log(3)]]), torch.zeros(1, 1), None)
    assert float(label) == pytest.approx((forward + back) / 2, rel=1e-6)


@pytest.mark.parametrize("weights", [None, np.array([0.5, 1.0, 2.0])])
def test_of_classes_it_is_torchs_with_its_gradient(weights: np.ndarray | None) -> None:
    one, other, targets = random(5, 3).requires_grad_(), random(5, 3).requires_grad_(), torch.tensor([0, 1, 2, 2, 0])
    each = both_ways(one, other)
    wanted = each.sum() if weights is None else (each * torch.tensor(weights, dtype=torch.float32)[targets]).sum()
    found = divergence_sum(one, other, targets, weights)
    torch.testing.assert_close(found, wanted)
    for ours, theirs in zip(
        torch.autograd.grad(found, (one, other)), torch.autograd.grad(wanted, (one, other)), strict=True
    ):
        torch.testing.assert_close(ours, theirs, atol=1e-5, rtol=1e-4)


def test_of_labels_it_is_that_of_two_classes_each() -> None:
    one, other, weights = random(4, 3), random(4, 3), np.array([1.0, 2.0, 0.5])
    pairs = [torch.stack([logits, torch.zeros_like(logits)], dim=-1) for logits in (one, other)]
    wanted = both_ways(*pairs)
    torch.testing.assert_close(binary_divergence_sum(one, other, None), wanted.sum())
    torch.testing.assert_close(
        binary_divergence_sum(one, other, weights), (wanted * torch.tensor(weights, dtype=torch.float32)).sum()
    )


def test_nothing_between_equals_and_no_overflow() -> None:
    one = random(4, 3)
    assert float(divergence_sum(one, one, torch.zeros(4, dtype=torch.int64), None)) == 0.0
    far = torch.tensor([[200.0, -200.0]])
    assert torch.isfinite(divergence_sum(far, -far, torch.tensor([0]), None))
    assert torch.isfinite(binary_divergence_sum(far, -far, None))


def test_words_without_a_tag_have_no_part(tagged_data: Callable[..., Any]) -> None:
    objective = make_objective(ObjectiveConfig(r_drop=1.0), tagged_data())
    one, other = random(2, 3, 7), random(2, 3, 7)
    targets = torch.tensor([[0, 2, -1], [1, -1, -1]])
    other[0, 2], other[1, 1] = torch.nan, torch.nan
    wanted = both_ways(one[[0, 0, 1], [0, 1, 0]], other[[0, 0, 1], [0, 1, 0]]).sum()
    torch.testing.assert_close(objective.divergence(one, other, targets), wanted)


def test_numbers_have_no_probabilities(toy_data: Callable[..., Any]) -> None:
    with pytest.raises(RecipeError, match="compares probabilities") as found:
        make_objective(ObjectiveConfig(r_drop=1.0), toy_data("regression"))
    assert found.value.where == "objective.r_drop"
