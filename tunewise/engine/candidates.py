"""The questions that are asked of a machine, and the work that answers them: small tensors, some milliseconds each."""

from __future__ import annotations

from collections.abc import Mapping
from contextlib import AbstractContextManager
from typing import Any

import torch
from torch import nn

from tunewise.engine.machine import Question, Work
from tunewise.engine.stacked_layers import updated
from tunewise.models.attention import AttentionShape

TOKENS = 512
"""In a batch: 16 rows of 32 tokens."""

WIDTH, INNER = 384, 1536
"""Of the linear layer: the feed-forward half of a small encoder."""

IMAGES, CHANNELS, SIDE = 4, 24, 56
"""Of a batch for convolutions: an early layer of a small net."""

STACK, RANK = 4, 16
"""How many runs may train in one pass over the base, with low-rank updates of this rank. With 8, and MiniLM's width, a
batch has left the fast caches."""

FASTER_FORMAT, FASTER_ATTENTION, FASTER_LAYOUT, FASTER_THREADS, FASTER_STACK = 1.2, 1.2, 1.05, 1.15, 1.15
"""How many times as fast another choice than the default must be. A linear layer is most of a step, so that 1.2 there
is felt; attention is a tenth of it; other threads round otherwise, so that they must pay. Steps of five
convolutional nets took between two thirds and 1.05 times as long with the other order of images, most of them less."""


def precision_question() -> Question:
    """bf16 or fp32 on a CPU, where some compute bf16 natively (measured with avx512_bf16: 3 times as fast) and others
    emulate it slowly."""

    def work() -> Mapping[str, Work]:
        step = _linear_step()

        def in_bf16() -> None:
            with _autocast("bf16"):
                step()

        return {"fp32": step, "bf16": in_bf16}

    return Question("precision", "fp32", FASTER_FORMAT, work)


def attention_question(shape: AttentionShape, training: bool, precision: str) -> Question:
    """The plain way (`eager`) or torch's fused one (`sdpa`), with the model's heads and dropout on texts of a typical
    length; prediction computes in fp32 and drops nothing."""
    drops = training and shape.drops
    precision = precision if training else "fp32"
    name = f"attention in {'training' if training else 'prediction'}, {shape.heads} heads of {shape.head_width}"
    name += f", {shape.tokens} tokens{', dropout' if drops else ''}, {precision}"

    def work() -> Mapping[str, Work]:
        rows = max(1, TOKENS // shape.tokens)
        size = (rows, shape.heads, shape.tokens, shape.head_width)
        dtype = torch.bfloat16 if precision == "bf16" else torch.float32
        inputs = [_random(*size).to(dtype).requires_grad_(training) for _ in range(3)]
        mask = torch.zeros(rows, 1, shape.tokens, shape.tokens, dtype=dtype)

        def plain(query: torch.Tensor, key: torch.Tensor, value: torch.Tensor) -> torch.Tensor:
            weights = query @ key.transpose(2, 3) * shape.head_width**-0.5 + mask
            weights = nn.functional.softmax(weights, dim=-1, dtype=torch.float32).to(dtype)
            return nn.functional.dropout(weights, 0.1 * drops, training=drops) @ value

        def fused(query: torch.Tensor, key: torch.Tensor, value: torch.Tensor) -> torch.Tensor:
            return nn.functional.scaled_dot_product_attention(query, key, value, mask, dropout_p=0.1 * drops)

        def carried_out(function: Any) -> Work:
            def once() -> None:
                with torch.set_grad_enabled(training), torch.random.fork_rng(devices=[]):
                    output = function(*inputs)
                    if training:
                        output.sum().backward()

            return once

        return {"eager": carried_out(plain), "sdpa": carried_out(fused)}

    return Question(name, "eager", FASTER_ATTENTION, work)


def layout_question(precision: str) -> Question:
    """Images channel after channel, as torch has them unless told, or pixel after pixel (`torch.channels_last`), in
    the kinds of convolutions that most nets are made of: 3 x 3 (ResNet, VGG), and between two of 1 x 1 one for each
    channel (MobileNet, EfficientNet)."""

    def work() -> Mapping[str, Work]:
        def carried_out(memory_format: torch.memory_format) -> Work:
            net = _convolutions().to(memory_format=memory_format)
            images = _random(IMAGES, CHANNELS, SIDE, SIDE).to(memory_format=memory_format).requires_grad_()

            def once() -> None:
                with _autocast(precision):
                    net(images).float().sum().backward()
                net.zero_grad()
                images.grad = None

            return once

        return {
            "channels first": carried_out(torch.contiguous_format),
            "channels last": carried_out(torch.channels_last),
        }

    return Question(f"order of images in memory, {precision}", "channels first", FASTER_LAYOUT, work)


def threads_question(cores: int, precision: str) -> Question:
    """One thread for each core, or fewer: for small batches the threads wait for each other."""

    def work() -> Mapping[str, Work]:
        step = _linear_step()

        def with_threads(count: int) -> Work:
            def once() -> None:
                torch.set_num_threads(count)
                with _autocast(precision):
                    step()

            return once

        return {str(count): with_threads(count) for count in _counts(cores)}

    return Question(f"threads of {cores}, {precision}", str(cores), FASTER_THREADS, work)


def stack_question(shape: AttentionShape, rows: int, precision: str) -> Question:
    """LoRA runs one by one, or several in one pass over the base: a block of an encoder, forward and backward, for
    batches of so many rows. The base reads more rows at a time, and there are fewer calls."""
    name = f"runs in one pass, {shape.heads} heads of {shape.head_width}, {rows} rows of {shape.tokens} tokens"

    def work() -> Mapping[str, Work]:
        width, size = shape.width, (-1, shape.tokens, shape.heads, shape.head_width)
        shapes = [(width, width)] * 4 + [(4 * width, width), (width, 4 * width)]
        frozen = [_random(*each).to(torch.bfloat16 if precision == "bf16" else torch.float32) for each in shapes]

        def carried_out(count: int) -> Work:
            updates = [
                tuple(_random(count, *each).requires_grad_() for each in ((RANK, i), (o, RANK))) for o, i in shapes
            ]
            texts = _random(count * rows, shape.tokens, width).requires_grad_()

            def layer(number: int, read: torch.Tensor) -> torch.Tensor:
                base, (down, up) = nn.functional.linear(read, frozen[number]), updates[number]
                if count > 1:
                    return updated(base, read, down, up, 2.0)
                # As peft computes it.
                return base + nn.functional.linear(nn.functional.linear(read, down[0]), up[0]) * 2.0

            def block() -> torch.Tensor:
                query, key, value = (layer(number, texts).view(size).transpose(1, 2) for number in range(3))
                weights = nn.functional.softmax(query @ key.transpose(2, 3), dim=-1, dtype=torch.float32)
                seen = (weights.to(value.dtype) @ value).transpose(1, 2).reshape(texts.shape)
                middle = nn.functional.layer_norm(texts + layer(3, seen), (width,))
                inner = layer(5, nn.functional.gelu(layer(4, middle)))
                return nn.functional.layer_norm(middle + inner, (width,))

            def once() -> None:
                for _ in range(STACK // count):
                    with _autocast(precision):
                        found = block()
                    found.float().sum().backward()
                    for tensor in (texts, *(each for both in updates for each in both)):
                        tensor.grad = None

            return once

        return {str(count): carried_out(count) for count in (1, STACK)}

    return Question(f"{name}, {precision}", "1", FASTER_STACK, work)


def _counts(cores: int) -> list[int]:
    """1, 2, 4, ... and all."""
    return sorted({*(2**power for power in range(cores.bit_length())), cores})


def _linear_step() -> Work:
    """A linear layer forward and backward."""
    rows = _random(TOKENS, WIDTH).requires_grad_()
    weight = _random(INNER, WIDTH).requires_grad_()

    def step() -> None:
        nn.functional.linear(rows, weight).sum().backward()
        rows.grad = weight.grad = None

    return step


def _convolutions() -> nn.Module:
    """A block of a ResNet and one of a MobileNet, norms as training has them: by kept statistics."""
    layers: list[nn.Module] = []
    for inputs, outputs, side, groups in (
        (CHANNELS, CHANNELS, 3, 1),
        (CHANNELS, 4 * CHANNELS, 1, 1),
        (4 * CHANNELS, 4 * CHANNELS, 3, 4 * CHANNELS),
        (4 * CHANNELS, CHANNELS, 1, 1),
    ):
        convolution = nn.Conv2d(inputs, outputs, side, padding=side // 2, groups=groups, bias=False)
        with torch.no_grad():
            convolution.weight.copy_(_random(*convolution.weight.shape))
        layers += [convolution, nn.BatchNorm2d(outputs), nn.ReLU()]
    return nn.Sequential(*layers).eval()


def _random(*shape: int) -> torch.Tensor:
    """Numbers that leave the generator of the run alone."""
    return torch.randn(*shape, generator=torch.Generator().manual_seed(0))


def _autocast(precision: str) -> AbstractContextManager[Any]:
    return torch.autocast("cpu", dtype=torch.bfloat16, enabled=precision == "bf16")
