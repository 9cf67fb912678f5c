"""A tag for each word: cross-entropy or focal loss.

Shape legend: B rows of a batch, W words, C tags, K words with a tag.
"""

from __future__ import annotations

from typing import TYPE_CHECKING

import numpy as np

from tunewise.data.tokenise import Tokens
from tunewise.objectives.base import Loss, Objective
from tunewise.objectives.cross_entropy import cross_entropy_sum
from tunewise.objectives.divergence import divergence_sum
from tunewise.objectives.weights import class_weights

if TYPE_CHECKING:
    import torch

    from tunewise.data.inputs import Inputs
    from tunewise.objectives.settings import ObjectiveConfig
    from tunewise.types import DataBundle, Split


class TokenClassification(Objective):
    """Cross-entropy or focal loss as for classification, over all words that have a tag; the mean is over words,
    whatever the row. Tags are int64 (B, W), -1 where there is none."""

    def __init__(self, config: ObjectiveConfig, data: DataBundle):
        super().__init__(config, data)
        targets = data.splits["train"].targets
        counts = np.bincount(targets[targets >= 0], minlength=len(self.schema.labels))
        self.weights = class_weights(config.class_weights, self.schema.labels, counts, config.effective_beta)

    def targets(self, split: Split, inputs: Inputs) -> np.ndarray:
        """Tags (N, W), -1 for words without a token too."""
        return inputs.seen(split.targets) if isinstance(inputs, Tokens) and inputs.words is not None else split.targets

    def n_items(self, targets: torch.Tensor) -> float:
        tags_K = targets[targets >= 0]
        count = len(tags_K) if self.weights is None else self.weights[tags_K.cpu().numpy()].sum()
        return float(count) or 1.0  # rows may be without a word that the tokeniser knows: a loss of 0, not 0 / 0

    def loss(self, logits_BC: torch.Tensor, targets: torch.Tensor) -> Loss:
        targets_BW = targets[:, : logits_BC.shape[1]]  # a batch is as wide as its own longest row
        tagged_BW = targets_BW >= 0
        total = cross_entropy_sum(logits_BC[tagged_BW], targets_BW[tagged_BW], self.weights, self.config)
        return Loss(total, self.n_items(targets))

    def divergence(self, logits_BC: torch.Tensor, others_BC: torch.Tensor, targets: torch.Tensor) -> torch.Tensor:
        targets_BW = targets[:, : logits_BC.shape[1]]
        tagged_BW = targets_BW >= 0
        return divergence_sum(logits_BC[tagged_BW], others_BC[tagged_BW], targets_BW[tagged_BW], self.weights)
