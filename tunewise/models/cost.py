"""FLOPs of a training step, from what the step really computes.

One multiply-add is 2 FLOPs. A linear layer costs 2 d_in d_out per row forward; backward as much again for the gradient
of its weight, where that trains, and for the gradient of its input, where something before it trains. The two products
of an attention cost 4 T^2 D per row of T tokens forward, twice that backward. Norms, activations, softmax, dropout and
the optimiser are left out, as `torch.utils.flop_counter` leaves them out; DeBERTa's products with relative positions
are left out too (about a tenth of its FLOPs).
"""

from __future__ import annotations

from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import dataclass

import torch
from torch import nn

from tunewise.models.blocks import is_linear, original_name
from tunewise.types import ModelMap


@dataclass
class StepFlops:
    """FLOPs per token, per row, and per row and squared token, of forward and backward pass."""

    token_forward: float = 0.0
    token_backward: float = 0.0
    row_forward: float = 0.0
    row_backward: float = 0.0
    square_forward: float = 0.0
    square_backward: float = 0.0

    def forward(self, rows: int, tokens: int) -> float:
        """FLOPs of the forward pass over `rows` rows of `tokens` tokens, padding included."""
        return rows * (self.row_forward + tokens * (self.token_forward + tokens * self.square_forward))

    def backward(self, rows: int, tokens: int) -> float:
        return rows * (self.row_backward + tokens * (self.token_backward + tokens * self.square_backward))


@contextmanager
def watch_flops(model: nn.Module, model_map: ModelMap) -> Iterator[StepFlops]:
    """Fills in the StepFlops it yields from the forward passes that are run inside: one training step is enough."""
    flops = StepFlops()
    closing = {path for block in model_map.blocks for path in block.attention}
    handles = [
        module.register_forward_hook(_LinearWatch(flops, original_name(f"{name}.")[:-1] in closing))
        for name, module in model.named_modules()
        if is_linear(module) and ".original_module" not in name
    ]
    try:
        yield flops
    finally:
        for handle in handles:
            handle.remove()


class _LinearWatch:
    def __init__(self, flops: StepFlops, closes_attention: bool):
        self.flops, self.closes_attention = flops, closes_attention

    def __call__(self, module: nn.Module, inputs: tuple[torch.Tensor, ...], output: torch.Tensor) -> None:
        forward = 2.0 * module.weight.numel()
        backward = forward * (int(module.weight.requires_grad) + int(inputs[0].requires_grad))
        if inputs[0].ndim > 2:
            self.flops.token_forward += forward
            self.flops.token_backward += backward
        else:
            self.flops.row_forward += forward
            self.flops.row_backward += backward
        if self.closes_attention:
            self.flops.square_forward += 4.0 * inputs[0].shape[-1]
            self.flops.square_backward += 8.0 * inputs[0].shape[-1] * int(inputs[0].requires_grad)
