"""Diffusion models: the squared error of what is predicted of an image with noise.

Shape legend: B images of a batch, N images, C channels, H height, W width, K numbers of a row.
"""

from __future__ import annotations

from collections.abc import Mapping
from typing import TYPE_CHECKING

from tunewise.errors import RecipeError
from tunewise.objectives.base import Loss, Objective

if TYPE_CHECKING:
    import numpy as np
    import torch
    from torch import nn

    from tunewise.objectives.settings import ObjectiveConfig
    from tunewise.types import DataBundle


class Denoising(Objective):
    """|f(x_t, t) - y|^2, mean over pixels, where x_t is an image with noise and y what the scheduler has the network
    predict of it: L_simple of Ho et al. 2020, "Denoising diffusion probabilistic models", equation 14, where that is
    the noise. Which noise and which timestep say the inputs (`data.noise`).

    Raises:
        RecipeError: an option of the objectives of classes is given.
    """

    answers = "images"

    def __init__(self, config: ObjectiveConfig, data: DataBundle):
        super().__init__(config, data)
        of_classes = ("label_smoothing", "class_weights", "focal_gamma", "r_drop")
        for name in (name for name in of_classes if getattr(config, name)):
            raise RecipeError(
                f"{name} is about what a model says of a class; the task is {data.schema.task}",
                where=f"objective.{name}",
                fix="leave it out",
            )

    @property
    def gamma(self) -> float | None:
        """See `DenoisingConfig.snr_gamma`."""
        return self.config.denoising.snr_gamma if self.config.denoising else None

    def outputs(self, model: nn.Module, batch: Mapping[str, torch.Tensor]) -> torch.Tensor:
        """(B, 2), as `ROW_NUMBERS` has them: the squared error, and the same weighted."""
        import torch

        read = {name: batch[name] for name in ("pixel_values", "timestep", "class_labels") if name in batch}
        error_B = (model(**read).float() - batch["wanted"]).square().flatten(1).mean(dim=1)
        return torch.stack([error_B, error_B * batch["weight"]], dim=1)

    def n_items(self, targets: torch.Tensor) -> float:
        return float(len(targets))

    def loss(self, numbers_BK: torch.Tensor, targets: torch.Tensor) -> Loss:
        return Loss(numbers_BK[:, 1].sum(), self.n_items(targets))

    def validation_loss(self, numbers: np.ndarray, targets: torch.Tensor) -> float:
        """The mean error of a split, each row at its own timestep, unweighted."""
        return float(numbers[:, 0].mean())
