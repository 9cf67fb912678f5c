"""What each tensor's gradient costs: the FLOPs table from which a method chooses under a budget.

The gradient of tensor k costs its own `weight` FLOPs, and the `input` FLOPs of all layers after it, which are paid once
for everything that trains. Counted as in `models.cost`, so that sums over the table are the FLOPs of a step.

Costs are vectors of 5: FLOPs per row, per token, per squared token, per token to learn (an output layer that reads
those alone), and what is computed again of those; a step's shape has the sums of B, B x T, B x T x T and I over its
batches of B rows of T tokens with I to learn, and that of I over its batches that have too many to be kept, so that
their product is the step's FLOPs.
"""

from __future__ import annotations

from collections.abc import Callable, Iterable
from dataclasses import dataclass, field

import numpy as np
import torch
from torch import nn

from tunewise.models.blocks import named_tensors
from tunewise.models.cost import LayerFlops, watch_layers
from tunewise.models.output_call import output_call
from tunewise.types import ModelMap, TensorFlops

KINDS = 5


def step_shape(
    steps: Iterable[Iterable[np.ndarray]],
    shape: Callable[[np.ndarray], tuple[int, int]],
    items: Callable[[np.ndarray], int],
    beyond: int = 0,
) -> np.ndarray:
    """The mean shape of steps, each given by the rows of its batches, of which `shape` tells sequences and tokens,
    `items` the tokens to learn; batches of more than `beyond` of these compute outputs again (`FlopsTable.beyond`)."""
    count, sums = 0, np.zeros(KINDS)
    for batches in steps:
        count += 1
        for rows in batches:
            sequences, width = shape(rows)
            per_row = np.array([1.0, width, float(width) * width])
            to_learn = items(rows)
            sums += [*(sequences * per_row), to_learn, to_learn * (to_learn > beyond)]
    return sums / count


def watch_tensors(model: nn.Module, model_map: ModelMap, forward: Callable[[], object]) -> FlopsTable:
    """The table of a model's tensors, from one forward pass.

    Layers that read the same hidden states (query, key and value) share one need for its gradient: their `input` FLOPs
    stand together at the first of them, so that none is counted for what trains in one of them only. Those of a layer
    that runs again (ALBERT) stand at the first other layer after.

    Args:
        forward: runs the model once, with gradients, every tensor of the map requiring one.
    """
    known = {tensor.name for tensor in model_map.tensors}
    table = FlopsTable({id(tensor): name for name, tensor in named_tensors(model).items() if name in known})
    handles = [
        module.register_forward_pre_hook(table.enter)
        for module in model.modules()
        if next(module.parameters(recurse=False), None) is not None
    ]
    try:
        with watch_layers(model, model_map, table.add):
            forward()
    finally:
        for handle in handles:
            handle.remove()
    table.close()
    return table


@dataclass
class FlopsTable:
    """FLOPs of each tensor that a forward pass read, first executed first. `names`: of tensors, by their id. `beyond`:
    how many tokens to learn a batch has at most whose outputs are not computed again."""

    names: dict[int, str]
    weight: dict[str, np.ndarray] = field(default_factory=dict)
    input: dict[str, np.ndarray] = field(default_factory=dict)
    forward: np.ndarray = field(default_factory=lambda: np.zeros(KINDS))
    beyond: int = 0
    _carried: np.ndarray = field(default_factory=lambda: np.zeros(KINDS))
    _readers: dict[tuple[int, torch.Size], str] = field(default_factory=dict)
    _alive: list[torch.Tensor] = field(default_factory=list)  # so that no memory is used twice, and a pointer says who
    _ran: set[str] = field(default_factory=set)
    _last: str = ""

    def at(self, shape: np.ndarray) -> tuple[TensorFlops, ...]:
        """The table for a step of that shape."""
        return tuple(
            TensorFlops(name, float(self.weight[name] @ shape), float(self.input[name] @ shape)) for name in self.weight
        )

    def forward_at(self, shape: np.ndarray) -> float:
        return float(self.forward @ shape)

    def full_at(self, shape: np.ndarray) -> float:
        """Forward and backward, where every tensor trains."""
        return self.forward_at(shape) + sum(entry.weight + entry.input for entry in self.at(shape))

    def enter(self, module: nn.Module, _: object) -> None:
        """Tensors of layers without FLOPs (norms, embeddings) have their place in the order too."""
        for parameter in module.parameters(recurse=False):
            if name := self.names.get(id(parameter)):
                self.weight.setdefault(name, np.zeros(KINDS))
                self.input.setdefault(name, np.zeros(KINDS))

    def add(self, path: str, module: nn.Module, hidden: torch.Tensor, layer: LayerFlops) -> None:
        flops = np.array([layer.row, layer.token, 0.0, 0.0, 0.0])
        products = np.array([layer.products, 0.0, layer.square, 0.0, 0.0])
        again = np.zeros(KINDS)
        if (call := output_call()) is not None:
            flops = np.array([0.0, 0.0, 0.0, layer.token * call.counts, 0.0])
            again[-1] = layer.token * call.counts * call.again
            self.beyond = max(self.beyond, call.beyond)
        self.forward += flops + products
        backward = (flops + 2 * products) * int(hidden.requires_grad)
        name = self.names.get(id(module.weight))
        if name is not None:
            self.weight[name] += flops + again
        if name is None or path in self._ran:  # no tensor of the map, or not its first time; the gradient passes anyway
            self._carried += backward
            return
        self._alive.append(hidden)
        first = self._readers.setdefault((hidden.data_ptr(), hidden.shape), name)
        self.input[first] += backward
        self.input[name] += self._carried
        self._carried = np.zeros(KINDS)
        self._ran.add(path)
        self._last = name

    def close(self) -> None:
        """What was carried beyond the last layer stays with it; the forward pass's memory is let go."""
        if self._last:
            self.input[self._last] += self._carried
        self._carried = np.zeros(KINDS)
        self._alive.clear()
        self._readers.clear()
