"""Convolutions of tiny maps in bf16: gradients as in fp32, and the same each time."""

from __future__ import annotations

from collections.abc import Iterator

import pytest
import torch
from torch import nn

from tunewise.models import small_maps
from tunewise.models.small_maps import guard_small_maps, unread_places


@pytest.fixture
def guarded() -> Iterator[None]:
    before = nn.Conv2d._conv_forward
    guard_small_maps()
    yield
    nn.Conv2d._conv_forward = before


@pytest.mark.parametrize("bias", [False, True])
@pytest.mark.parametrize("padding", [1, "same"])
@pytest.mark.parametrize("side", [1, 2, 8])
def test_gradients_in_bf16_are_those_in_fp32(side: int, padding: int | str, bias: bool, guarded: None) -> None:
    torch.manual_seed(0)
    conv = nn.Conv2d(24, 32, 3, stride=1 if padding == "same" else 2, padding=padding, bias=bias)
    maps = torch.randn(12, 24, side, side)
    conv(maps).square().sum().backward()
    expected = [parameter.grad.clone() for parameter in conv.parameters()]
    for _ in range(3):
        conv.zero_grad()
        _soil_the_memory()
        with torch.autocast("cpu", torch.bfloat16):
            given = conv(maps)
        given.float().square().sum().backward()
        for parameter, wanted in zip(conv.parameters(), expected, strict=True):
            assert torch.allclose(parameter.grad, wanted, atol=0.02 * float(wanted.abs().max()))


def _soil_the_memory() -> None:
    held = [torch.full((1 << size,), float("nan"), dtype=torch.bfloat16) for size in range(4, 20)]
    del held


def test_other_convolutions_are_rounded_as_ever(guarded: None) -> None:
    conv = nn.Conv2d(3, 4, 3, padding=1)
    with torch.autocast("cpu", torch.bfloat16):
        assert conv(torch.zeros(1, 3, 8, 8)).dtype == torch.bfloat16
        assert conv(torch.zeros(1, 3, 1, 1)).dtype == torch.float32
    assert conv(torch.zeros(1, 3, 1, 1)).dtype == torch.float32


@pytest.mark.parametrize("kernel", [1, 2, 3, 5, 7])
@pytest.mark.parametrize("stride", [1, 2, 3])
@pytest.mark.parametrize("dilation", [1, 2])
@pytest.mark.parametrize("side", [1, 2, 3, 4, 8])
def test_unread_places_are_where_the_gradient_is_zero(kernel: int, stride: int, dilation: int, side: int) -> None:
    padding = dilation * kernel // 2
    weight = torch.ones(1, 1, kernel, requires_grad=True)
    given = nn.functional.conv1d(torch.ones(1, 1, side), weight, stride=stride, padding=padding, dilation=dilation)
    given.sum().backward()
    zero = tuple((weight.grad[0, 0] == 0).nonzero().flatten().tolist())
    assert unread_places(side, kernel, stride, padding, dilation) == zero


def test_what_is_replaced_is_torchs_own() -> None:
    assert small_maps._as_torch_has_it.__module__ == nn.Conv2d.__module__
