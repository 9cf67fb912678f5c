"""FLOPs of what an inserted layer computes itself, beside the linear layers and convolutions that it holds.

Such as the products with VeRA's shared matrices, OFT's rotations, and the norms of DoRA, for which peft multiplies the
two factors in every step. Counted by torch's own formulas (`torch.utils.flop_counter`).
"""

from __future__ import annotations

from collections.abc import Callable, Iterator
from contextlib import contextmanager
from typing import Any

import torch
from torch import nn
from torch.overrides import TorchFunctionMode
from torch.utils._python_dispatch import TorchDispatchMode
from torch.utils._pytree import tree_leaves
from torch.utils.flop_counter import flop_registry

from tunewise.models.blocks import is_convolution, is_linear

Count = Callable[[torch.Tensor, float, int, bool], None]


class InsertedWatch(TorchFunctionMode):
    """Calls `count(input, FLOPs, gradients, shared)` for every product inside an inserted layer: the layer's input, how
    many of the two factors need a gradient, and whether it is made once for all rows."""

    def __init__(self, count: Count):
        super().__init__()
        self.count = count
        self.open: list[torch.Tensor | None] = []  # inputs of the inserted layers that run, None for layers in them

    def __torch_function__(
        self, func: Callable[..., Any], types: Any, args: tuple[Any, ...] = (), kwargs: dict[str, Any] | None = None
    ) -> Any:
        hidden = self.open[-1] if self.open else None
        if hidden is None:
            return func(*args, **(kwargs or {}))
        with _Products() as products:
            result = func(*args, **(kwargs or {}))
        if products.flops:
            factors = [leaf for leaf in tree_leaves((args, kwargs)) if isinstance(leaf, torch.Tensor)]
            gradients = sum(factor.requires_grad for factor in factors) * torch.is_grad_enabled()
            shared = not any(factor.shape[: hidden.ndim - 1] == hidden.shape[:-1] for factor in factors)
            self.count(hidden, float(products.flops), gradients, shared)
        return result

    def shares(self, hidden: torch.Tensor) -> bool:
        """Whether a layer inside an inserted one is given a matrix of that one's own, and not of the batch."""
        around = next((entry for entry in reversed(self.open) if entry is not None), None)
        return around is not None and hidden.ndim < around.ndim


@contextmanager
def watch_inserted(model: nn.Module, count: Count) -> Iterator[InsertedWatch]:
    """Inside, counts what the inserted layers of the model compute."""
    watch, handles = InsertedWatch(count), []

    def enter(module: nn.Module, inputs: tuple[torch.Tensor, ...]) -> None:
        watch.open.append(inputs[0] if hasattr(module, "base_layer") else None)

    def leave(module: nn.Module, inputs: tuple[torch.Tensor, ...], output: torch.Tensor) -> None:
        watch.open.pop()

    for module in model.modules():
        layer = getattr(module, "base_layer", module)
        if is_linear(layer) or is_convolution(layer):
            handles += [module.register_forward_pre_hook(enter), module.register_forward_hook(leave)]
    try:
        with watch:
            yield watch
    finally:
        for handle in handles:
            handle.remove()


class _Products(TorchDispatchMode):
    """Adds up the FLOPs of the products that are computed inside."""

    flops = 0

    def __torch_dispatch__(
        self, func: Any, types: Any, args: tuple[Any, ...] = (), kwargs: dict[str, Any] | None = None
    ) -> Any:
        result = func(*args, **(kwargs or {}))
        if (formula := flop_registry.get(func._overloadpacket)) is not None:
            self.flops += formula(*args, **(kwargs or {}), out_val=result)
        return result
