"""Modules that take the place of another one and keep it, so that names stay and what reads the old one still can."""

from __future__ import annotations

from collections.abc import Iterator
from typing import Any

import torch
from torch import nn


class Wrapped(nn.Module):
    """Does what `base_layer` does. Attributes that it lacks are those of `base_layer`: transformers reads some from
    outside, such as a ModernBERT block's `attention_type` or the `weight` of T5's last projection."""

    def __init__(self, module: nn.Module):
        super().__init__()
        self.base_layer = module

    def forward(self, *args: Any, **kwargs: Any) -> Any:
        return self.base_layer(*args, **kwargs)

    def __getattr__(self, name: str) -> Any:
        try:
            return super().__getattr__(name)
        except AttributeError:
            return getattr(super().__getattr__("base_layer"), name)


class WrappedList(Wrapped):
    """Iterates, indexes and slices as the `nn.ModuleList` it keeps."""

    def __len__(self) -> int:
        return len(self.base_layer)

    def __iter__(self) -> Iterator[nn.Module]:
        return iter(self.base_layer)

    def __getitem__(self, place: int | slice) -> nn.Module:
        return self.base_layer[place]


def hidden_of(output: Any) -> torch.Tensor:
    """The hidden states among what a block returns: itself, or the first of several."""
    return output if isinstance(output, torch.Tensor) else output[0]


def with_hidden(output: Any, hidden: torch.Tensor) -> Any:
    """What a block returned, with other hidden states."""
    return hidden if isinstance(output, torch.Tensor) else type(output)((hidden, *output[1:]))


def widths_of(linear: nn.Module) -> tuple[int, int]:
    """Inputs and outputs of a linear layer; GPT-2's Conv1D keeps its weight transposed."""
    if type(linear).__name__ == "Conv1D":
        return linear.nx, linear.nf
    return linear.in_features, linear.out_features


def plain_model(model: nn.Module) -> nn.Module:
    """The transformers model itself, with the layers that peft has put into it."""
    return model.get_base_model() if hasattr(model, "get_base_model") else model
