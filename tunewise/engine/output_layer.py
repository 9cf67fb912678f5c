"""The output layer of a net, and targets that were standardised for training, folded back into it."""

from __future__ import annotations

from collections.abc import Iterator
from contextlib import contextmanager

import torch

from tunewise.errors import MethodError
from tunewise.models.blocks import named_tensors
from tunewise.models.load import Net
from tunewise.objectives.base import Objective


def output_layer(net: Net) -> tuple[torch.nn.Parameter, torch.nn.Parameter | None]:
    """Weight and bias of the last layer: the last matrix of the head with one row per output."""
    tensors, outputs_ = named_tensors(net.model), net.model.config.num_labels
    matrices = [t.name for t in net.map.head if len(t.shape) == 2 and t.shape[0] == outputs_]
    if not matrices:
        raise MethodError(
            f"no output layer was found in a '{net.map.family}' model", fix="set objective.standardize to false"
        )
    name = matrices[-1]
    return tensors[name], tensors.get(name.removesuffix("weight") + "bias")


@contextmanager
def read_by_output_layer(net: Net) -> Iterator[list[torch.Tensor]]:
    """Inside, what the output layer reads of each batch (B, D) is put into the list it yields."""
    weight, _ = output_layer(net)
    layer = next(module for module in net.model.modules() if getattr(module, "weight", None) is weight)
    read: list[torch.Tensor] = []
    handle = layer.register_forward_pre_hook(lambda module, inputs: read.append(inputs[0]))
    try:
        yield read
    finally:
        handle.remove()


def standardizes(objective: Objective) -> bool:
    return objective.schema.task == "regression" and objective.config.standardize


def fold(net: Net, objective: Objective) -> None:
    if standardizes(objective):
        with torch.no_grad():
            objective.fold(*output_layer(net))
