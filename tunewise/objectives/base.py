"""What is minimised, and what the model's outputs mean. One file per task.

Shape legend: B rows of a batch, C labels.
"""

from __future__ import annotations

from abc import ABC, abstractmethod
from dataclasses import dataclass
from typing import TYPE_CHECKING

if TYPE_CHECKING:
    import numpy as np
    import torch

    from tunewise.objectives.settings import ObjectiveConfig
    from tunewise.types import DataBundle


@dataclass(frozen=True)
class Loss:
    """`total` is the sum over the batch's items, `n_items` what it is divided by: sums of several batches divided by
    the sum of their items are the exact mean, however unequal the batches are."""

    total: torch.Tensor
    n_items: float

    @property
    def mean(self) -> torch.Tensor:
        return self.total / self.n_items


class Objective(ABC):
    """Loss and meaning of the outputs. Made from the training rows, so that it is the same on resume."""

    def __init__(self, config: ObjectiveConfig, data: DataBundle):
        self.config, self.schema = config, data.schema

    @abstractmethod
    def n_items(self, targets: torch.Tensor) -> float:
        """What the sum of losses over these rows is divided by."""

    @abstractmethod
    def loss(self, logits_BC: torch.Tensor, targets: torch.Tensor) -> Loss:
        """Loss of a batch, computed in fp32."""

    def divergence(self, logits_BC: torch.Tensor, others_BC: torch.Tensor, targets: torch.Tensor) -> torch.Tensor:
        """Sum over the batch's items of what R-Drop adds for two outputs of the same rows, weighted as their losses
        are: the mean of the KL divergences in both directions, in fp32."""
        raise NotImplementedError(f"{self.schema.task} has no probabilities to compare")

    def unscale(self, logits_BC: np.ndarray) -> np.ndarray:
        """The model's outputs in the unit of the targets."""
        return logits_BC

    def without_bias(self) -> None:
        """Told before training that the output layer has no bias, and so cannot carry an offset."""

    def fold(self, weight: torch.Tensor, bias: torch.Tensor | None) -> None:
        """Changes the trained output layer (in place) so that `unscale` has nothing left to do."""
