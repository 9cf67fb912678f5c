"""A tag for each word: cross-entropy.

Shape legend: B rows of a batch, W words, C tags, K words with a tag.
"""

from __future__ import annotations

from typing import TYPE_CHECKING

import numpy as np

from tunewise.objectives.base import Loss, Objective
from tunewise.objectives.weights import class_weights

if TYPE_CHECKING:
    import torch

    from tunewise.objectives.settings import ObjectiveConfig
    from tunewise.types import DataBundle


class TokenClassification(Objective):
    """Cross-entropy as for classification, over all words that have a tag; the mean is over words, whatever the row.
    Tags are int64 (B, W), -1 where there is none."""

    def __init__(self, config: ObjectiveConfig, data: DataBundle):
        super().__init__(config, data)
        targets = data.splits["train"].targets
        counts = np.bincount(targets[targets >= 0], minlength=len(self.schema.labels))
        self.weights = class_weights(config.class_weights, self.schema.labels, counts)

    def n_items(self, targets: torch.Tensor) -> float:
        tags_K = targets[targets >= 0]
        count = len(tags_K) if self.weights is None else self.weights[tags_K.cpu().numpy()].sum()
        return float(count) or 1.0  # rows may be without a word that the tokeniser knows: a loss of 0, not 0 / 0

    def loss(self, logits_BC: torch.Tensor, targets: torch.Tensor) -> Loss:
        import torch
        from torch.nn import functional

        targets_BW = targets[:, : logits_BC.shape[1]]  # a batch is as wide as its own longest row
        tagged_BW = targets_BW >= 0
        weight = None
        if self.weights is not None:
            weight = torch.as_tensor(self.weights, dtype=torch.float32, device=logits_BC.device)
        total = functional.cross_entropy(
            logits_BC[tagged_BW].float(),
            targets_BW[tagged_BW],
            weight=weight,
            label_smoothing=self.config.label_smoothing,
            reduction="sum",
        )
        return Loss(total, self.n_items(targets))
