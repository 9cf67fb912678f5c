"""One label per row: cross-entropy or focal loss."""

from __future__ import annotations

from typing import TYPE_CHECKING

import numpy as np

from tunewise.objectives.base import Loss, Objective
from tunewise.objectives.cross_entropy import cross_entropy_sum
from tunewise.objectives.divergence import divergence_sum
from tunewise.objectives.weights import class_weights

if TYPE_CHECKING:
    import torch

    from tunewise.objectives.settings import ObjectiveConfig
    from tunewise.types import DataBundle


class Classification(Objective):
    """Cross-entropy with class weights w: sum of w[y] (-log p[y]) over sum of w[y], as torch and transformers have
    it; with label smoothing e the target is (1 - e) on the label plus e / C everywhere. Focal loss takes the place of
    -log p[y], and is divided by the same."""

    def __init__(self, config: ObjectiveConfig, data: DataBundle):
        super().__init__(config, data)
        counts = np.bincount(data.splits["train"].targets, minlength=len(self.schema.labels))
        self.weights = class_weights(config.class_weights, self.schema.labels, counts, config.effective_beta)

    def n_items(self, targets: torch.Tensor) -> float:
        if self.weights is None:
            return float(len(targets))
        return float(self.weights[targets.cpu().numpy()].sum())

    def loss(self, logits_BC: torch.Tensor, targets: torch.Tensor) -> Loss:
        return Loss(cross_entropy_sum(logits_BC, targets, self.weights, self.config), self.n_items(targets))

    def divergence(self, logits_BC: torch.Tensor, others_BC: torch.Tensor, targets: torch.Tensor) -> torch.Tensor:
        return divergence_sum(logits_BC, others_BC, targets, self.weights)
