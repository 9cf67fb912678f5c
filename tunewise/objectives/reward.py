"""Reward models: a number for a prompt and its answer, larger for the answer that is preferred.

Shape legend: B rows of a batch, N rows, T tokens.
"""

from __future__ import annotations

from collections.abc import Mapping
from typing import TYPE_CHECKING, Any

from tunewise.data.pairs import MARGIN, PairTokens, parted
from tunewise.data.rewarded import encode_rewarded, margins_of
from tunewise.objectives.base import Loss, Objective
from tunewise.objectives.language_settings import RewardConfig

if TYPE_CHECKING:
    import torch
    from torch import nn

    from tunewise.types import Split


class RewardModel(Objective):
    """Bradley-Terry: -ln sigmoid(r_c - r_r - m) for the rewards of the chosen and the rejected answer and the margin m
    of the row (0 where it has none; Touvron et al. 2023, Llama 2, equation 2), plus c (r_c + r_r)^2, which keeps
    rewards around 0 (Eisenstein et al. 2023, Helping or herding?, section 2). The model is a sequence classifier with
    one output."""

    @property
    def options(self) -> RewardConfig:
        return self.config.reward or RewardConfig()

    def encode(self, split: Split, tokenizer: Any, max_length: int, encoder_decoder: bool) -> PairTokens:
        chosen, rejected = (
            encode_rewarded([(row[0], row[place]) for row in split.texts], self.schema, tokenizer, max_length)
            for place in (1, 2)
        )
        margins = margins_of(split)
        return PairTokens.of(chosen, rejected, **({} if margins is None else {MARGIN: margins}))

    def outputs(self, model: nn.Module, batch: Mapping[str, torch.Tensor]) -> torch.Tensor:
        """(B, 3), as `ROW_NUMBERS` has them: the rewards of both answers, and the loss."""
        import torch

        read, numbers = parted(batch)
        chosen_B, rejected_B = model(**read).logits.float()[:, 0].chunk(2)
        losses_B = bradley_terry(chosen_B, rejected_B, numbers.get(MARGIN), self.options.centering)
        return torch.stack([chosen_B, rejected_B, losses_B], dim=1)

    def n_items(self, targets: torch.Tensor) -> float:
        return float(len(targets))

    def loss(self, numbers_BK: torch.Tensor, targets: torch.Tensor) -> Loss:
        return Loss(numbers_BK[:, 2].sum(), self.n_items(targets))


def bradley_terry(
    chosen_B: torch.Tensor, rejected_B: torch.Tensor, margin_B: torch.Tensor | None = None, centering: float = 0.0
) -> torch.Tensor:
    """The loss of each row, (B,), as in `RewardModel`."""
    from torch.nn.functional import logsigmoid

    apart_B = chosen_B - rejected_B
    losses_B = -logsigmoid(apart_B if margin_B is None else apart_B - margin_B)
    return losses_B + centering * (chosen_B + rejected_B) ** 2 if centering else losses_B
