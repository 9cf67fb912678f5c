"""Log-probabilities that a language model gives the tokens to learn, without an output layer at all other places.

Shape legend: B rows of a batch, T tokens, V vocabulary, N tokens to learn in a batch.
"""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass

import torch
from torch import nn

from tunewise.config.reading import PACKED_ROWS, UNLABELLED
from tunewise.models.output_layer import last_hidden, numbers_of


@dataclass(frozen=True)
class TokenLogProbs:
    """Of each token to learn, row by row: `log_probs_N` (fp32, with gradient), whether the model holds it for the
    likeliest (`right_N`), and the row it stands in (`row_N`); `rows` is how many the batch has. `entropy_N` where it
    was asked for."""

    log_probs_N: torch.Tensor
    right_N: torch.Tensor
    row_N: torch.Tensor
    rows: int
    entropy_N: torch.Tensor | None = None

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


def token_log_probs(
    model: nn.Module,
    batch: Mapping[str, torch.Tensor],
    *,
    entropy: bool = False,
    temperature: float = 1.0,
    even: bool = False,
) -> TokenLogProbs:
    """Of a batch with `labels` (B, T), UNLABELLED where nothing is to be learnt; a decoder's label at place t is what
    it gives at place t - 1. Of packed rows (`data.packing`), the rows are those packed.

    The output layer reads the places of labels only, in chunks (`models.chunked_log_probs`), where what it does then is
    proven to be what the model does; else all places, as the model does by itself.

    Args:
        entropy: that of the distribution at each place too, in nats, without gradient.
        temperature: what logits are divided by.
        even: the loss is going to weigh all tokens alike, as cross-entropy does: faster. Where it does not, gradients
            are right too, and slower.
    """
    inputs = {name: values for name, values in batch.items() if name not in ("labels", PACKED_ROWS)}
    if (mask := inputs.get("attention_mask")) is not None and mask.ndim == 4:
        inputs["attention_mask"] = _as_the_model_takes_it(mask, model)
    labels_BT, shift = batch["labels"], 0 if model.config.is_encoder_decoder else 1
    if shift == 0:
        inputs["decoder_input_ids"] = model.prepare_decoder_input_ids_from_labels(labels=labels_BT)
    row_N, place_N = (labels_BT[:, shift:] != UNLABELLED).nonzero(as_tuple=True)
    label_N = labels_BT[row_N, place_N + shift]
    found = last_hidden(model, inputs, even)
    if found is not None:
        layer, hidden_BTD = found
        options = {"temperature": temperature, "entropy": entropy, "even": even}
        log_probs_N, right_N, entropy_N = layer.log_probs(hidden_BTD[row_N, place_N], label_N, **options)
    else:
        logits_NV = model(**inputs).logits[row_N, place_N].float() / temperature
        log_probs_N, right_N, entropy_N = numbers_of(logits_NV, label_N, entropy)
    rows = len(labels_BT)
    if PACKED_ROWS in batch:
        rows = int(batch[PACKED_ROWS].max()) + 1
        row_N = batch[PACKED_ROWS][row_N, place_N + shift]
    return TokenLogProbs(log_probs_N, right_N, row_N, rows, entropy_N if entropy else None)


def _as_the_model_takes_it(mask_P1LL: torch.Tensor, model: nn.Module) -> torch.Tensor:
    """Of two dimensions more, transformers leaves a mask as it is: written-out attention adds it to its scores."""
    if model.config._attn_implementation != "eager":
        return mask_P1LL
    dtype = next(model.parameters()).dtype
    return torch.zeros_like(mask_P1LL, dtype=dtype).masked_fill(~mask_P1LL, torch.finfo(dtype).min)
