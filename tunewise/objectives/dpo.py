"""Direct preference optimisation: preferred answers become likelier than others, measured from an untrained model.

Shape legend: B rows of a batch, N rows.
"""

from __future__ import annotations

from collections.abc import Mapping
from typing import TYPE_CHECKING, Any

from tunewise.data.conversations import encode_pairs
from tunewise.data.pairs import REFERENCE, PairTokens
from tunewise.objectives.base import Loss, Objective, OutputsOf
from tunewise.objectives.language_settings import DpoConfig
from tunewise.objectives.reference import pair_numbers, with_references

if TYPE_CHECKING:
    import torch
    from torch import nn

    from tunewise.types import Split


class DirectPreference(Objective):
    """With the log-ratio of an answer, ln p(answer) - ln p_reference(answer), and h, that of the chosen answer less
    that of the rejected one:

    sigmoid: -(1 - e) ln sigmoid(b h) - e ln sigmoid(-b h) (Rafailov et al. 2023, DPO, equation 7; with e the
    label smoothing: Mitchell 2023, A note on DPO with noisy preferences, cDPO).
    hinge: max(0, 1 - b h) (Zhao et al. 2023, SLiC-HF; in this form Liu et al. 2024, RSO, equation 13).
    ipo: (h - 1 / (2 b))^2 (Azar et al. 2024, A general theoretical paradigm, equation 17), each log-ratio being the
    mean over the answer's tokens, as its authors report it and trl computes it.

    The reference is the model before anything is inserted or trained, in fp32: computed once for all rows. Dropout
    would be noise in h, so there is none unless the recipe asks for it.
    """

    answers = "language"
    rate_scale = 0.1
    dropout = 0.0

    @property
    def options(self) -> DpoConfig:
        return self.config.dpo or DpoConfig()

    def encode(self, split: Split, tokenizer: Any, max_length: int, encoder_decoder: bool) -> PairTokens:
        return PairTokens.of(*encode_pairs(split, self.schema, tokenizer, max_length, encoder_decoder))

    def prepare(self, inputs: Mapping[str, PairTokens], outputs_of: OutputsOf) -> Mapping[str, PairTokens]:
        return with_references(inputs, outputs_of)

    def outputs(self, model: nn.Module, batch: Mapping[str, torch.Tensor]) -> torch.Tensor:
        """(B, 3), as `ROW_NUMBERS` has them: b times the log-ratio of both answers, and the loss."""
        import torch

        numbers_B4 = pair_numbers(model, batch)
        ratios_B2 = numbers_B4[:, :2] - batch[REFERENCE]
        losses_B = dpo_losses(ratios_B2, numbers_B4[:, 2:], self.options)
        return torch.cat([self.options.beta * ratios_B2, losses_B[:, None]], dim=1)

    def n_items(self, targets: torch.Tensor) -> float:
        return float(len(targets))

    def loss(self, numbers_BK: torch.Tensor, targets: torch.Tensor) -> Loss:
        return Loss(numbers_BK[:, 2].sum(), self.n_items(targets))


def dpo_losses(ratios_B2: torch.Tensor, tokens_B2: torch.Tensor, options: DpoConfig) -> torch.Tensor:
    """The loss of each row, (B,), as in `DirectPreference`, of the log-ratios of its chosen and its rejected answer and
    of how many tokens these have."""
    from torch.nn.functional import logsigmoid

    beta, smoothing = options.beta, options.label_smoothing
    if options.loss == "ipo":
        means_B2 = ratios_B2 / tokens_B2.clamp(min=1)
        return (means_B2[:, 0] - means_B2[:, 1] - 1 / (2 * beta)) ** 2
    apart_B = beta * (ratios_B2[:, 0] - ratios_B2[:, 1])
    if options.loss == "hinge":
        return (1 - apart_B).relu()
    return -(1 - smoothing) * logsigmoid(apart_B) - smoothing * logsigmoid(-apart_B)
