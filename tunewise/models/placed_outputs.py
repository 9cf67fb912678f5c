"""A model that answers for something else than it computes for: what of its outputs to take comes with the batch."""

from __future__ import annotations

from abc import ABC, abstractmethod
from typing import Any

import torch
from torch import nn


class PlacedOutputs(ABC):
    """Takes places out of the batch before a forward pass, and makes other outputs by them after it. A batch without
    places has its outputs as they are."""

    key: str  # of the places in the batch

    def __init__(self) -> None:
        self.places: torch.Tensor | None = None

    @abstractmethod
    def placed(self, logits: torch.Tensor, places: torch.Tensor) -> torch.Tensor:
        """The outputs at these places."""

    def watch(self, model: nn.Module) -> None:
        model.register_forward_pre_hook(self._before, with_kwargs=True)
        model.register_forward_hook(self._after)

    def _before(self, model: nn.Module, args: Any, kwargs: dict[str, Any]) -> tuple[Any, dict[str, Any]]:
        self.places = kwargs.get(self.key)
        return args, {key: value for key, value in kwargs.items() if key != self.key}

    def _after(self, model: nn.Module, args: Any, output: Any) -> None:
        if self.places is not None:
            output.logits = self.placed(output.logits, self.places)
            self.places = None
