"""Any number of labels per row: binary cross-entropy per label."""

from __future__ import annotations

from typing import TYPE_CHECKING

from tunewise.objectives.base import Loss, Objective
from tunewise.objectives.weights import class_weights

if TYPE_CHECKING:
    import torch

    from tunewise.objectives.settings import ObjectiveConfig
    from tunewise.types import DataBundle


class Multilabel(Objective):
    """Mean over rows and labels of w_c (-t log p - (1 - t) log(1 - p)), divided by rows x labels."""

    def __init__(self, config: ObjectiveConfig, data: DataBundle):
        super().__init__(config, data)
        counts = data.splits["train"].targets.sum(axis=0)
        self.weights = class_weights(config.class_weights, self.schema.labels, counts)

    def n_items(self, targets: torch.Tensor) -> float:
        return float(targets.numel())

    def loss(self, logits_BC: torch.Tensor, targets: torch.Tensor) -> Loss:
        import torch
        from torch.nn import functional

        weight = None
        if self.weights is not None:
            weight = torch.as_tensor(self.weights, dtype=torch.float32, device=logits_BC.device)
        total = functional.binary_cross_entropy_with_logits(logits_BC.float(), targets, weight=weight, reduction="sum")
        return Loss(total, self.n_items(targets))
