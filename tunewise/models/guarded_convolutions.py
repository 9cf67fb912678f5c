"""Convolutions that torch (2.13.0, by oneDNN) computes wrongly or slowly on a CPU are computed in another way.

In fp32 instead of bf16, what they give being rounded:

- Maps so small that some weights of the kernel meet nothing but padding. Such a weight has gradient 0, and torch leaves
  there what the memory happened to hold: NaN, infinity, or a finite number that is wrong and another each time. The
  last stage of a ResNet meets such maps where images have 16 pixels a side.
- A kernel for each channel that moves by more than one pixel, or is larger than 3 x 3: the gradient of the maps, or of
  the kernel, takes 5 to 20 times as long as in fp32. In MobileNetV2 four such layers took a third of a step.

On the pixels that it reads alone, instead of all:

- A kernel of one pixel that moves by more, on maps whose channels lie side by side: with fewer than 16 channels, its
  gradient in fp32 writes past the end of its memory. The shortcuts of a small ResNet are such kernels.
"""

from __future__ import annotations

from functools import lru_cache
from typing import Any

import torch
from torch import nn
from torch.nn.modules.conv import _ConvNd

from tunewise.models.memory_format import lies_channels_last

LARGEST_FAST = 3
"""Pixels of a side of a kernel for each channel."""

_as_torch_has_it = nn.Conv2d._conv_forward


def guard_convolutions() -> None:
    """From here on in this process, every `Conv2d` looks at its maps first. Doing it twice changes nothing."""
    nn.Conv2d._conv_forward = _guarded


def _guarded(conv: nn.Conv2d, maps_BCHW: torch.Tensor, weight: torch.Tensor, bias: torch.Tensor | None) -> torch.Tensor:
    if maps_BCHW.device.type != "cpu":
        return _as_torch_has_it(conv, maps_BCHW, weight, bias)
    if _skips_pixels(conv) and lies_channels_last(maps_BCHW):
        down, across = conv.stride
        return nn.functional.conv2d(maps_BCHW[..., ::down, ::across], weight, bias)
    rounds = torch.is_autocast_enabled("cpu")
    if not rounds or not (_is_slow(conv) or _meets_padding_alone(conv, tuple(maps_BCHW.shape[-2:]))):
        return _as_torch_has_it(conv, maps_BCHW, weight, bias)
    with torch.autocast("cpu", enabled=False):
        exact = _as_torch_has_it(conv, maps_BCHW.float(), weight.float(), None if bias is None else bias.float())
    return exact.to(torch.get_autocast_dtype("cpu"))


def _skips_pixels(conv: _ConvNd) -> bool:
    return (
        conv.kernel_size == (1, 1) and max(conv.stride) > 1 and conv.padding in ((0, 0), "valid") and conv.groups == 1
    )


def _is_slow(conv: _ConvNd) -> bool:
    depthwise = conv.groups == conv.in_channels > 1
    return depthwise and (max(conv.stride) > 1 or max(conv.kernel_size) > LARGEST_FAST)


def _meets_padding_alone(conv: _ConvNd, sides: tuple[int, ...]) -> bool:
    if isinstance(conv.padding, str):
        padding: Any = tuple(conv._reversed_padding_repeated_twice[::2][::-1])
    else:
        padding = conv.padding if conv.padding_mode == "zeros" else (0,) * len(sides)
    each = zip(sides, conv.kernel_size, conv.stride, padding, conv.dilation, strict=True)
    return any(unread_places(*numbers) for numbers in each)


@lru_cache(maxsize=1024)
def unread_places(side: int, kernel: int, stride: int, padding: int, dilation: int) -> tuple[int, ...]:
    """The places of a kernel, along one side of a map, that meet nothing but padding: place k meets the values
    i x stride + k x dilation - padding of all outputs i."""
    outputs = range((side + 2 * padding - dilation * (kernel - 1) - 1) // stride + 1)
    meets = (any(0 <= i * stride + k * dilation - padding < side for i in outputs) for k in range(kernel))
    return tuple(k for k, met in enumerate(meets) if not met)
