"""Which token comes next: from a model's logits, greedily or drawn, each row from random numbers of its own.

Shape legend: B rows of a batch, V vocabulary, T tokens read so far.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass

import numpy as np
import torch

from tunewise.evaluate.generation_settings import GenerationConfig


@dataclass(frozen=True)
class Chooser:
    """Chooses tokens as the options say. What a row draws follows from `seed`, its number and how many tokens it has
    written, whatever other rows stand beside it."""

    config: GenerationConfig
    seed: int

    def __call__(
        self, logits_BV: torch.Tensor, read: Sequence[Sequence[int]], rows: Sequence[int], written: int
    ) -> list[int]:
        """The next token of each row.

        Args:
            read: all tokens of each row so far.
            rows: the number of each row.
            written: how many tokens each row has written.
        """
        scores_BV = logits_BV.float()
        if self.config.repetition_penalty != 1.0:
            scores_BV = penalised(scores_BV, read, self.config.repetition_penalty)
        if self.config.temperature is None:
            return scores_BV.argmax(-1).tolist()
        scores_BV = filtered(scores_BV / self.config.temperature, self.config.top_k, self.config.top_p)
        return self._drawn(scores_BV, rows, written)

    def _drawn(self, scores_BV: torch.Tensor, rows: Sequence[int], written: int) -> list[int]:
        """One uniform number per row, looked up in the cumulated probabilities (up to a factor): cumulated in double
        precision, so that a token of probability 0 adds nothing and is never drawn, and one of 1e-9 does."""
        odds_BV = (scores_BV - scores_BV.amax(-1, keepdim=True)).exp_()
        summed_BV = odds_BV.cumsum(-1, dtype=torch.float64)
        drawn_B = torch.tensor([_uniform(self.seed, row, written) for row in rows], device=scores_BV.device)
        wanted_B1 = (drawn_B.double() * summed_BV[:, -1])[:, None]
        return torch.searchsorted(summed_BV, wanted_B1, right=True)[:, 0].tolist()


def penalised(scores_BV: torch.Tensor, read: Sequence[Sequence[int]], penalty: float) -> torch.Tensor:
    """Scores with those of tokens that stand in `read` divided by the penalty, or multiplied where they are negative;
    virtual tokens, beyond the vocabulary, have none."""
    seen_BV = torch.zeros_like(scores_BV, dtype=torch.bool)
    for row, ids in enumerate(read):
        known = [number for number in set(ids) if number < scores_BV.shape[1]]
        seen_BV[row, known] = True
    return torch.where(seen_BV, torch.where(scores_BV < 0, scores_BV * penalty, scores_BV / penalty), scores_BV)


def filtered(scores_BV: torch.Tensor, top_k: int | None, top_p: float | None) -> torch.Tensor:
    """Scores with -inf at tokens that must not be drawn: first all but the k likeliest, then the least likely ones
    without which the rest has at least the probability p."""
    if top_k is not None and top_k < scores_BV.shape[1]:
        least_B1 = scores_BV.topk(top_k).values[:, -1:]
        scores_BV = scores_BV.masked_fill(scores_BV < least_B1, -torch.inf)
    if top_p is not None and top_p < 1:
        sorted_BV, order_BV = scores_BV.sort(descending=True, stable=True)
        probability_BV = sorted_BV.softmax(-1)
        before_BV = probability_BV.cumsum(-1) - probability_BV
        out_BV = before_BV >= top_p
        out_BV[:, 0] = False
        scores_BV = scores_BV.masked_fill(torch.zeros_like(out_BV).scatter(1, order_BV, out_BV), -torch.inf)
    return scores_BV


def _uniform(seed: int, row: int, step: int) -> float:
    """A number in [0, 1) that follows from the three."""
    return float(np.random.Generator(np.random.Philox(key=[seed, row], counter=[0, 0, 0, step])).random())
