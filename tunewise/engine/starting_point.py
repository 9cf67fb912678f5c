"""The model as it was before training, for as long as a pass takes: only what trains is kept a second time."""

from __future__ import annotations

from collections.abc import Iterator, Mapping
from contextlib import contextmanager

import torch
from torch import nn


class StartingPoint:
    """First values of what trains. With an adapter that starts as nothing these are the original model: as if it were
    disabled, and of the same size as it; with full fine-tuning they are a copy of the model."""

    def __init__(self) -> None:
        self._kept: dict[str, tuple[nn.Parameter, torch.Tensor]] = {}

    def keep(self, tensors: Mapping[str, nn.Parameter]) -> None:
        """Copies of tensors that did not train so far; those it knows stay as they are."""
        for name, parameter in tensors.items():
            if name not in self._kept:
                self._kept[name] = (parameter, parameter.detach().clone())

    @property
    def bytes(self) -> int:
        """What the copies take."""
        return sum(value.numel() * value.element_size() for _, value in self._kept.values())

    @contextmanager
    def restored(self) -> Iterator[None]:
        """Inside, the model is the one that it was before training; for passes without gradient."""
        trained = [(parameter, parameter.data) for parameter, _ in self._kept.values()]
        try:
            for parameter, value in self._kept.values():
                parameter.data = value
            yield
        finally:
            for parameter, value in trained:
                parameter.data = value
