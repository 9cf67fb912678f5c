"""Log-probabilities of answers, and what an untrained model gave them: what losses about a reference are made of.

Shape legend: B rows of a batch, N rows.
"""

from __future__ import annotations

from collections.abc import Mapping
from typing import TYPE_CHECKING

from tunewise.data.pairs import REFERENCE, PairTokens, parted

if TYPE_CHECKING:
    import torch
    from torch import nn

    from tunewise.objectives.base import OutputsOf


def pair_numbers(model: nn.Module, batch: Mapping[str, torch.Tensor]) -> torch.Tensor:
    """(B, 4), fp32: sum of the log-probabilities of the tokens to learn of both sequences of each row, then how many
    tokens those are."""
    import torch

    from tunewise.models.token_losses import token_log_probs

    numbers_2BK = token_log_probs(model, parted(batch)[0]).row_numbers()
    return torch.cat([*(-numbers_2BK[:, :1]).chunk(2), *numbers_2BK[:, 1:2].chunk(2)], dim=1)


def pair_log_probs(model: nn.Module, batch: Mapping[str, torch.Tensor]) -> torch.Tensor:
    """(B, 2): the sums alone."""
    return pair_numbers(model, batch)[:, :2]


def with_references(inputs: Mapping[str, PairTokens], outputs_of: OutputsOf) -> dict[str, PairTokens]:
    """The same rows with what the model gives them as it is now, float32 (N, 2)."""
    return {name: read.with_numbers(**{REFERENCE: outputs_of(read, pair_log_probs)}) for name, read in inputs.items()}
