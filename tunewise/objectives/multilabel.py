"""Any number of labels per row: binary cross-entropy or focal loss per label."""

from __future__ import annotations

from typing import TYPE_CHECKING

from tunewise.objectives.base import Loss, Objective
from tunewise.objectives.cross_entropy import binary_cross_entropy_sum
from tunewise.objectives.divergence import binary_divergence_sum
from tunewise.objectives.weights import class_weights

if TYPE_CHECKING:
    import torch

    from tunewise.objectives.settings import ObjectiveConfig
    from tunewise.types import DataBundle


class Multilabel(Objective):
    """Mean over rows and labels of w_c (-t log p - (1 - t) log(1 - p)), divided by rows x labels; with focal loss, each
    of the two logarithms is multiplied by the other's probability to the power gamma."""

    def __init__(self, config: ObjectiveConfig, data: DataBundle):
        super().__init__(config, data)
        counts = data.splits["train"].targets.sum(axis=0)
        self.weights = class_weights(config.class_weights, self.schema.labels, counts, config.effective_beta)

    def n_items(self, targets: torch.Tensor) -> float:
        return float(targets.numel())

    def loss(self, logits_BC: torch.Tensor, targets: torch.Tensor) -> Loss:
        return Loss(binary_cross_entropy_sum(logits_BC, targets, self.weights, self.config), self.n_items(targets))

    def divergence(self, logits_BC: torch.Tensor, others_BC: torch.Tensor, targets: torch.Tensor) -> torch.Tensor:
        return binary_divergence_sum(logits_BC, others_BC, self.weights)
