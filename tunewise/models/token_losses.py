"""Log-probabilities that a language model gives the tokens to learn, without an output layer at all other places.

Shape legend: B rows of a batch, T tokens, V vocabulary, N tokens to learn in a batch.
"""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass

import torch
from torch import nn

from tunewise.types import UNLABELLED


@dataclass(frozen=True)
class TokenLogProbs:
    """Of each token to learn, row by row: `log_probs_N` (fp32, with gradient), whether the model holds it for the
    likeliest (`right_N`), and the row it stands in (`row_N`); `rows` is how many the batch has."""

    log_probs_N: torch.Tensor
    right_N: torch.Tensor
    row_N: torch.Tensor
    rows: int

    def row_sums(self) -> torch.Tensor:
        """(B,) sum of the log-probabilities of a row."""
        return torch.zeros(self.rows, device=self.log_probs_N.device).index_add(0, self.row_N, self.log_probs_N)

    def row_numbers(self) -> torch.Tensor:
        """(B, 3): sum of -ln p, tokens, and those that are right."""
        zeros_B = torch.zeros(self.rows, device=self.log_probs_N.device)
        ones_N = torch.ones_like(self.log_probs_N)
        counts_B, right_B = (
            zeros_B.index_add(0, self.row_N, ones_N),
            zeros_B.index_add(0, self.row_N, self.right_N.float()),
        )
        return torch.stack([-self.row_sums(), counts_B, right_B], dim=1)


def token_log_probs(model: nn.Module, batch: Mapping[str, torch.Tensor]) -> TokenLogProbs:
    """Of a batch with `labels` (B, T), UNLABELLED where nothing is to be learnt; a decoder's label at place t is what
    it gives at place t - 1."""
    inputs = {name: values for name, values in batch.items() if name != "labels"}
    labels_BT = batch["labels"]
    if model.config.is_encoder_decoder:
        inputs["decoder_input_ids"] = model.prepare_decoder_input_ids_from_labels(labels=labels_BT)
        logits_BTV = model(**inputs).logits
    else:
        logits_BTV, labels_BT = model(**inputs).logits[:, :-1], labels_BT[:, 1:]
    row_N, place_N = (labels_BT != UNLABELLED).nonzero(as_tuple=True)
    logits_NV, label_N = logits_BTV[row_N, place_N].float(), labels_BT[row_N, place_N]
    log_probs_N = logits_NV.log_softmax(-1).gather(1, label_N[:, None])[:, 0]
    return TokenLogProbs(log_probs_N, logits_NV.argmax(-1) == label_N, row_N, len(labels_BT))
