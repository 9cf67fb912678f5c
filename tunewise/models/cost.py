"""FLOPs of a training step, from what the step really computes.

One multiply-add is 2 FLOPs. A linear layer costs 2 d_in d_out per row forward; backward as much again for the gradient
of its weight, where that trains, and for the gradient of its input, where something before it trains. The two products
of an attention cost 4 T^2 D per row of T tokens forward, twice that backward. A convolution is a linear layer at each
place of its output. An image makes as many tokens as any other. Norms, activations, softmax, dropout and the optimiser
are left out, as `torch.utils.flop_counter` leaves them out; DeBERTa's products with relative positions are left out too
(about a tenth of its FLOPs). An attention of images with fewer keys than queries (Segformer, PVT, Hiera) is counted as
if it had as many, which is too much by up to a half of a tiny model's FLOPs.
"""

from __future__ import annotations

from collections.abc import Callable, Iterator
from contextlib import contextmanager
from dataclasses import dataclass

import torch
from torch import nn
from transformers.modeling_layers import GradientCheckpointingLayer

from tunewise.models.blocks import is_convolution, is_linear, original_name
from tunewise.models.inserted_flops import watch_inserted
from tunewise.models.output_call import OutputCall, output_call
from tunewise.types import ModelMap


@dataclass
class StepFlops:
    """FLOPs per token, per row, per row and squared token, per token to learn (an output layer that reads those alone),
    and per batch whatever its size, of forward and backward pass. `item_again`: what the backward pass computes once
    more of each token to learn, where a batch has more than `again_beyond` of them."""

    token_forward: float = 0.0
    token_backward: float = 0.0
    row_forward: float = 0.0
    row_backward: float = 0.0
    square_forward: float = 0.0
    square_backward: float = 0.0
    batch_forward: float = 0.0
    batch_backward: float = 0.0
    item_forward: float = 0.0
    item_backward: float = 0.0
    item_again: float = 0.0
    again_beyond: int = 0

    def forward(self, rows: int, tokens: int, items: int = 0) -> float:
        """FLOPs of the forward pass over `rows` rows of `tokens` tokens, padding included; `items` of all of them are
        tokens to learn."""
        per_row = self.row_forward + tokens * (self.token_forward + tokens * self.square_forward)
        return self.batch_forward + items * self.item_forward + rows * per_row

    def backward(self, rows: int, tokens: int, items: int = 0) -> float:
        per_row = self.row_backward + tokens * (self.token_backward + tokens * self.square_backward)
        per_item = self.item_backward + (items > self.again_beyond) * self.item_again  # of many batches, arrays
        return self.batch_backward + items * per_item + rows * per_row


@dataclass(frozen=True)
class LayerFlops:
    """Forward FLOPs of one call of a layer: per token and per row, and those of the products of the attention that the
    layer closes, per row and squared token or (`products`) per row. Backward, the gradient of its weight and that of
    its input each cost `token` and `row` again; the products cost twice as much, where something before them trains."""

    token: float = 0.0
    row: float = 0.0
    square: float = 0.0
    products: float = 0.0


@contextmanager
def watch_flops(model: nn.Module, model_map: ModelMap) -> Iterator[StepFlops]:
    """Fills in the StepFlops it yields from the forward passes that are run inside: one training step is enough."""
    flops = StepFlops()

    def watch(path: str, module: nn.Module, hidden: torch.Tensor, layer: LayerFlops) -> None:
        if inserted.shares(hidden):  # only DoRA's norm is made so, which counts as a constant in the backward pass
            flops.batch_forward += layer.row * len(hidden)
            return
        passes_on = int(hidden.requires_grad)
        times = passes_on + int(module.weight.requires_grad)
        if (call := output_call()) is not None:
            flops.item_forward += layer.token * call.counts
            flops.item_backward += layer.token * times * call.counts
            again(layer.token, call)
            return
        flops.token_forward += layer.token
        flops.token_backward += layer.token * times
        flops.row_forward += layer.row + layer.products
        flops.row_backward += layer.row * times + 2 * layer.products * passes_on
        flops.square_forward += layer.square
        flops.square_backward += 2 * layer.square * passes_on

    def again(each: float, call: OutputCall) -> None:
        if call.counts and call.again:
            flops.item_again += each
            flops.again_beyond = call.beyond

    def count(hidden: torch.Tensor, products: float, gradients: int, shared: bool) -> None:
        if (call := output_call()) is not None:
            each = products / hidden[..., 0].numel() * call.counts
            flops.item_forward += each
            flops.item_backward += each * gradients
            again(each, call)
        elif shared:
            flops.batch_forward += products
            flops.batch_backward += products * gradients
        elif model_map.modality == "image" or hidden.ndim == 2:
            flops.row_forward += products / len(hidden)
            flops.row_backward += products * gradients / len(hidden)
        else:
            flops.token_forward += products / hidden[..., 0].numel()
            flops.token_backward += products * gradients / hidden[..., 0].numel()

    with (
        watch_inserted(model, count) as inserted,
        watch_layers(model, model_map, watch),
        _watch_blocks_computed_again(model, flops),
    ):
        yield flops


@contextmanager
def _watch_blocks_computed_again(model: nn.Module, flops: StepFlops) -> Iterator[None]:
    """Adds the forward pass of blocks that keep only their input to the backward pass, which does it again."""
    kinds, before = ("token", "row", "square", "batch"), []

    def now() -> list[float]:
        return [getattr(flops, f"{kind}_forward") for kind in kinds]

    def enter(module: nn.Module, args: object) -> None:
        before.append(now())

    def leave(module: nn.Module, args: object, output: object) -> None:
        hidden = output if isinstance(output, torch.Tensor) else output[0]
        for kind, first, last in zip(kinds, before.pop(), now(), strict=True):
            if module.training and hidden.requires_grad:
                name = f"{kind}_backward"
                setattr(flops, name, getattr(flops, name) + last - first)

    handles = []
    for block in model.modules():
        if isinstance(block, GradientCheckpointingLayer) and block.gradient_checkpointing:
            handles += [block.register_forward_pre_hook(enter), block.register_forward_hook(leave)]
    try:
        yield
    finally:
        for handle in handles:
            handle.remove()


@contextmanager
def watch_layers(
    model: nn.Module, model_map: ModelMap, watch: Callable[[str, nn.Module, torch.Tensor, LayerFlops], None]
) -> Iterator[None]:
    """Inside, calls `watch(path, module, input, FLOPs)` after each call of a layer that costs FLOPs; `path` is the
    original model's."""
    closing = {path for block in model_map.blocks for path in block.attention}
    rows = [1]

    def count_rows(module: nn.Module, args: tuple[torch.Tensor, ...], kwargs: dict[str, torch.Tensor]) -> None:
        rows[0] = len(args[0] if args else kwargs["pixel_values"])

    def hook(path: str) -> Callable[..., None]:
        def watched(module: nn.Module, inputs: tuple[torch.Tensor, ...], output: torch.Tensor) -> None:
            if is_convolution(module):
                layer = LayerFlops(row=2.0 * module.weight.numel() * output[:, 0].numel() / rows[0])
            else:
                closes = path in closing or getattr(module, "closes_attention", False)  # a mark of inserted layers
                layer = _linear(inputs[0], output, closes, rows[0] if model_map.modality == "image" else None)
            watch(path, module, inputs[0], layer)

        return watched

    handles = [
        module.register_forward_hook(hook(original_name(f"{name}.")[:-1]))
        for name, module in model.named_modules()
        if (is_linear(module) or is_convolution(module)) and ".original_module" not in name
    ]
    if model_map.modality == "image":
        handles.append(model.register_forward_pre_hook(count_rows, with_kwargs=True))
    try:
        yield
    finally:
        for handle in handles:
            handle.remove()


def _linear(hidden: torch.Tensor, output: torch.Tensor, closes_attention: bool, images: int | None) -> LayerFlops:
    """`images`: how many are in the batch. They all have as many tokens, so that everything is counted per row; where
    an attention is within windows (Swin), each window is a sequence of its own."""
    forward, products = 2.0 * hidden.shape[-1] * output.shape[-1], 4.0 * hidden.shape[-1] * int(closes_attention)
    if images is not None:
        tokens = hidden[0, ..., 0].numel()
        each = len(hidden) / images
        return LayerFlops(row=each * tokens * forward, products=each * tokens**2 * products)
    return LayerFlops(
        token=forward if hidden.ndim > 2 else 0.0, row=0.0 if hidden.ndim > 2 else forward, square=products
    )
