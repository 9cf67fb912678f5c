"""A number per row: squared error."""

from __future__ import annotations

from typing import TYPE_CHECKING

import numpy as np

from tunewise.errors import RecipeError
from tunewise.objectives.base import Loss, Objective

if TYPE_CHECKING:
    import torch

    from tunewise.objectives.settings import ObjectiveConfig
    from tunewise.types import DataBundle


class Regression(Objective):
    """Mean squared error on (target - mean) / deviation of the training rows; `fold` then gives the output layer the
    unit of the target: weight * deviation, bias * deviation + mean. Without a bias (decoders) the mean is 0 and the
    deviation the root of the mean square.

    Raises:
        RecipeError: class weights, focal loss or R-Drop are asked for.
    """

    def __init__(self, config: ObjectiveConfig, data: DataBundle):
        super().__init__(config, data)
        if config.class_weights is not None:
            raise RecipeError(
                "class weights are for classes; the task is regression",
                where="objective.class_weights",
                fix="leave them out",
            )
        if config.focal_gamma:
            raise RecipeError(
                "focal loss is for classes; the task is regression", where="objective.focal_gamma", fix="leave it out"
            )
        if config.r_drop:
            raise RecipeError(
                "R-Drop compares probabilities of classes; the task is regression",
                where="objective.r_drop",
                fix="leave it out",
            )
        targets = data.splits["train"].targets.astype(np.float64)
        self.mean, self.deviation = 0.0, 1.0
        if config.standardize:
            self.mean, self.deviation = float(targets.mean()), float(targets.std()) or 1.0
        self._root_mean_square = float(np.sqrt(np.square(targets).mean())) or 1.0

    def n_items(self, targets: torch.Tensor) -> float:
        return float(len(targets))

    def loss(self, logits_BC: torch.Tensor, targets: torch.Tensor) -> Loss:
        wanted = (targets - self.mean) / self.deviation
        total = (logits_BC.float().squeeze(-1) - wanted).square().sum()
        return Loss(total, self.n_items(targets))

    def unscale(self, logits_BC: np.ndarray) -> np.ndarray:
        return logits_BC * self.deviation + self.mean

    def without_bias(self) -> None:
        if self.config.standardize:
            self.mean, self.deviation = 0.0, self._root_mean_square

    def fold(self, weight: torch.Tensor, bias: torch.Tensor | None) -> None:
        weight.mul_(self.deviation)
        if bias is not None:
            bias.mul_(self.deviation).add_(self.mean)
        self.mean, self.deviation = 0.0, 1.0
