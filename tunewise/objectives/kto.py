"""Kahneman-Tversky optimisation: learns from answers that are each called good or bad, without pairs.

Shape legend: B rows of a batch, N rows.
"""

from __future__ import annotations

from collections.abc import Iterator, Mapping
from contextlib import contextmanager
from dataclasses import replace
from typing import TYPE_CHECKING, Any

import numpy as np

from tunewise.data.conversations import encode_answers
from tunewise.data.pairs import REFERENCE, PairTokens, parted
from tunewise.objectives.base import Loss, Objective, OutputsOf, StepOutputs
from tunewise.objectives.language_settings import KtoConfig
from tunewise.objectives.reference import with_references

if TYPE_CHECKING:
    import torch
    from torch import nn

    from tunewise.types import Split

GOOD = "good"


class KahnemanTversky(Objective):
    """With the log-ratio of an answer, r = ln p(answer) - ln p_reference(answer):

    good answers: w_d (1 - sigmoid(b (r - z))); bad ones: w_u (1 - sigmoid(b (z - r))) (Ethayarajh et al. 2024, KTO,
    equations 7 and 8). z estimates the KL divergence from the reference: the mean log-ratio of answers to prompts that
    they do not belong to, at least 0, without gradient.

    Each row has the answer of the row before it as the one that does not belong; where that answers the same prompt, of
    the nearest before that does not. z is the mean over the rows of an optimiser step, so that it does not depend on
    how the step is cut into batches; in validation and tests it is that of all rows. The reference is as for `dpo`.
    """

    answers = "language"
    rate_scale = 0.1
    dropout = 0.0
    with_gradient = 0.5

    def __init__(self, *args: Any):
        super().__init__(*args)
        self._divergence: torch.Tensor | None = None

    @property
    def options(self) -> KtoConfig:
        return self.config.kto or KtoConfig()

    def encode(self, split: Split, tokenizer: Any, max_length: int, encoder_decoder: bool) -> PairTokens:
        own, other = (
            encode_answers(rows, self.schema, tokenizer, max_length, encoder_decoder)
            for rows in (split, replace(split, texts=mismatched(split.texts)))
        )
        none = np.zeros(0, np.int64)
        other = replace(
            other, lost=0, cut_rows=none, empty_rows=none
        )  # what is cut of rows that are made up is no loss
        return PairTokens.of(own, other, **{GOOD: split.targets})

    def prepare(self, inputs: Mapping[str, PairTokens], outputs_of: OutputsOf) -> Mapping[str, PairTokens]:
        return with_references(inputs, outputs_of)

    @contextmanager
    def in_step(self, outputs_of: StepOutputs) -> Iterator[None]:
        self._divergence = outputs_of(_mismatched_ratios).mean().clamp(min=0)
        try:
            yield
        finally:
            self._divergence = None

    def outputs(self, model: nn.Module, batch: Mapping[str, torch.Tensor]) -> torch.Tensor:
        """(B, 3): b times the log-ratio of the answer, the log-ratio of the answer that does not belong (0 within a
        step, where all have been looked at), and whether the answer is a good one."""
        import torch

        ratios_B = _ratios(model, batch, 0)
        others_B = torch.zeros_like(ratios_B) if self._divergence is not None else _mismatched_ratios(model, batch)
        return torch.stack([self.options.beta * ratios_B, others_B, batch[GOOD]], dim=1)

    def n_items(self, targets: torch.Tensor) -> float:
        return float(len(targets))

    def loss(self, numbers_BK: torch.Tensor, targets: torch.Tensor) -> Loss:
        return Loss(self._losses(numbers_BK).sum(), self.n_items(targets))

    def unscale(self, numbers_NK: np.ndarray) -> np.ndarray:
        """(N, 2), as `ROW_NUMBERS` has them: the reward, and the loss."""
        import torch

        return np.stack([numbers_NK[:, 0], self._losses(torch.from_numpy(numbers_NK)).numpy()], axis=1)

    def _losses(self, numbers_BK: torch.Tensor) -> torch.Tensor:
        rewards_B, others_B, good_B = numbers_BK.unbind(1)
        divergence = others_B.detach().mean().clamp(min=0) if self._divergence is None else self._divergence
        return kto_losses(rewards_B, good_B > 0, self.options.beta * divergence, self.options)


def kto_losses(
    rewards_B: torch.Tensor, good_B: torch.Tensor, divergence: torch.Tensor, options: KtoConfig
) -> torch.Tensor:
    """The loss of each row, (B,), as in `KahnemanTversky`; `rewards_B` and `divergence` are both times b."""
    import torch

    apart_B = rewards_B - divergence
    good, bad = options.desirable_weight, options.undesirable_weight
    return torch.where(good_B, good * (1 - apart_B.sigmoid()), bad * (1 - (-apart_B).sigmoid()))


def mismatched(texts: tuple[tuple[str, ...], ...]) -> tuple[tuple[str, ...], ...]:
    """The same prompts, each with an answer to another one, as `KahnemanTversky` says; rows are prompt and answer."""
    begins = [0]  # of the run of rows with the same prompt that a row is in
    for place in range(1, len(texts)):
        begins.append(begins[-1] if texts[place][0] == texts[place - 1][0] else place)
    return tuple((prompt, texts[begins[place] - 1][1]) for place, (prompt, _) in enumerate(texts))


def _mismatched_ratios(model: nn.Module, batch: Mapping[str, torch.Tensor]) -> torch.Tensor:
    """(B,), without gradient."""
    import torch

    with torch.no_grad():
        return _ratios(model, batch, 1)


def _ratios(model: nn.Module, batch: Mapping[str, torch.Tensor], which: int) -> torch.Tensor:
    """(B,) log-ratio of the first (0) or the second (1) sequence of each row."""
    from tunewise.models.token_losses import token_log_probs

    read, numbers = parted(batch)
    half = {name: values.chunk(2)[which] for name, values in read.items()}
    return token_log_probs(model, half).row_sums() - numbers[REFERENCE][:, which]


__all__ = ["GOOD", "KahnemanTversky", "kto_losses", "mismatched"]
