"""Convolutions that torch computes wrongly or slowly: as exact as in fp32, and the same each time."""

from __future__ import annotations

from collections.abc import Iterator
from typing import Any

import pytest
import torch
from torch import nn

from tunewise.models import guarded_convolutions
from tunewise.models.guarded_convolutions import guard_convolutions, unread_places


@pytest.fixture
def guarded() -> Iterator[None]:
    before = nn.Conv2d._conv_forward
    guard_convolutions()
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


@pytest.mark.parametrize(
    ("side", "options", "exact"),
    [
        (8, {"kernel_size": 3}, False),
        (8, {"kernel_size": 3, "stride": 2}, False),
        (8, {"kernel_size": 7}, False),
        (8, {"kernel_size": 3, "groups": 24}, False),
        (1, {"kernel_size": 3}, True),
        (8, {"kernel_size": 3, "groups": 24, "stride": 2}, True),
        (8, {"kernel_size": 5, "groups": 24}, True),
    ],
)
def test_which_compute_in_fp32(side: int, options: dict[str, Any], exact: bool, guarded: None, monkeypatch) -> None:
    torch.manual_seed(0)
    seen, conv = [], nn.Conv2d(24, 48, padding=options["kernel_size"] // 2, **options)
    compute = guarded_convolutions._as_torch_has_it

    def noted(conv: nn.Conv2d, maps: torch.Tensor, *more: Any) -> torch.Tensor:
        seen.append((maps.dtype, torch.is_autocast_enabled("cpu")))
        return compute(conv, maps, *more)

    monkeypatch.setattr(guarded_convolutions, "_as_torch_has_it", noted)
    maps = torch.randn(4, 24, side, side, dtype=torch.bfloat16)
    with torch.autocast("cpu", torch.bfloat16):
        given = conv(maps)
    assert seen == [(torch.float32, False) if exact else (torch.bfloat16, True)] and given.dtype == torch.bfloat16
    if exact:
        assert torch.equal(given, conv(maps.float()).bfloat16())
    assert conv(maps.float()).dtype == torch.float32


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


@pytest.mark.parametrize("padding", [0, "valid"])
@pytest.mark.parametrize("stride", [2, 3, (1, 2)])
def test_kernels_that_skip_pixels_read_the_others_alone(stride: Any, padding: Any, guarded: None) -> None:
    """torch itself would write past the end of a gradient here: it ends the process, or not."""
    torch.manual_seed(0)
    conv = nn.Conv2d(8, 16, 1, stride=stride, padding=padding)
    maps = torch.randn(4, 8, 29, 29, requires_grad=True)
    wanted = conv(maps)
    wanted.square().sum().backward()
    expected = [maps.grad, *(parameter.grad for parameter in conv.parameters())]
    conv.zero_grad()
    other = maps.detach().to(memory_format=torch.channels_last).requires_grad_()
    given = conv(other)
    given.square().sum().backward()
    assert torch.allclose(given, wanted, atol=1e-5) and given.shape == wanted.shape
    for one, two in zip((other.grad, *(each.grad for each in conv.parameters())), expected, strict=True):
        assert torch.allclose(one, two, rtol=1e-4, atol=1e-4)


def test_what_is_replaced_is_torchs_own() -> None:
    assert guarded_convolutions._as_torch_has_it.__module__ == nn.Conv2d.__module__
