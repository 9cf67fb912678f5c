"""Whether the numbers of a tensor are finite."""

from __future__ import annotations

import math

import pytest
import torch

from tunewise.models.finite_values import all_finite

LARGEST = torch.finfo(torch.float32).max


@pytest.mark.parametrize("bad", [math.nan, math.inf, -math.inf])
@pytest.mark.parametrize("dtype", [torch.float32, torch.bfloat16, torch.float16])
def test_one_number_is_enough(bad: float, dtype: torch.dtype) -> None:
    numbers = torch.randn(7, 5, 3, dtype=dtype, requires_grad=True)
    assert all_finite(numbers)
    with torch.no_grad():
        numbers[6, 4, 2] = bad
    assert not all_finite(numbers) and not all_finite(numbers.transpose(0, 2))


@pytest.mark.parametrize(
    "tensor",
    [
        torch.tensor(0.0),
        torch.empty(0, 4),
        torch.full((9,), LARGEST),  # whose squares are not finite
        torch.tensor([-LARGEST, LARGEST]),
        torch.arange(3),
        torch.tensor([True, False]),
    ],
)
def test_finite(tensor: torch.Tensor) -> None:
    assert all_finite(tensor)
