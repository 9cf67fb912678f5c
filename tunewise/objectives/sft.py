"""Supervised fine-tuning of a language model: cross-entropy of the tokens to learn.

Shape legend: B rows of a batch, N rows, K numbers of a row.
"""

from __future__ import annotations

from collections.abc import Mapping
from typing import TYPE_CHECKING, Any

from tunewise.data.conversations import encode_split
from tunewise.objectives.base import Loss, Objective

if TYPE_CHECKING:
    import numpy as np
    import torch
    from torch import nn

    from tunewise.data.labelled import LabelledTokens
    from tunewise.types import Split


class SupervisedFineTuning(Objective):
    """-ln p of each token to learn, given all before it; the mean is over tokens, whatever the row."""

    answers = "language"

    def encode(self, split: Split, tokenizer: Any, max_length: int, encoder_decoder: bool) -> LabelledTokens:
        options = self.config.sft
        everything = options is not None and options.loss_on == "all"
        return encode_split(split, self.schema, tokenizer, max_length, everything, encoder_decoder)

    def targets(self, split: Split, inputs: LabelledTokens) -> np.ndarray:
        """How many tokens of each row are to be learnt, int64 (N,)."""
        return inputs.counts

    def outputs(self, model: nn.Module, batch: Mapping[str, torch.Tensor]) -> torch.Tensor:
        """(B, 3), as `ROW_NUMBERS` has them: sum of -ln p, tokens, and those that the model holds for the likeliest."""
        from tunewise.models.token_losses import token_log_probs

        return token_log_probs(model, batch, even=True).row_numbers()

    def n_items(self, targets: torch.Tensor) -> float:
        return float(targets.sum())

    def loss(self, numbers_BK: torch.Tensor, targets: torch.Tensor) -> Loss:
        return Loss(numbers_BK[:, 0].sum(), self.n_items(targets))
