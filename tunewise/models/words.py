"""A model that answers for words, though it computes for tokens.

Shape legend: B rows of a batch, T tokens, W most words in a row of the batch, C outputs.
"""

from __future__ import annotations

import torch

from tunewise.models.placed_outputs import PlacedOutputs
from tunewise.types import CUT, NO_WORD

CERTAIN = 20.0  # output of the tag of a word that the model did not see, the others having 0: a probability of 1 - 2e-9


class WordOutputs(PlacedOutputs):
    """Takes the outputs (B, W, C) of each word's first token from those of all tokens (B, T, C).

    The places of those tokens come with the batch, as `word_places` (B, W). A word without a token is outside of
    entities; where a row has no such word, outputs are NaN. Without `word_places`, the outputs stay those of tokens.
    """

    key = "word_places"

    def __init__(self, outside: int):
        super().__init__()
        self.outside = outside

    def placed(self, logits_BTC: torch.Tensor, places_BW: torch.Tensor) -> torch.Tensor:
        places_BW1, outputs = places_BW.unsqueeze(-1), logits_BTC.shape[-1]
        logits_BWC = logits_BTC.gather(1, places_BW1.clamp(min=0).expand(-1, -1, outputs))
        unseen_C = torch.zeros_like(logits_BTC[0, 0])
        unseen_C[self.outside] = CERTAIN
        logits_BWC = torch.where(places_BW1 == CUT, unseen_C, logits_BWC)
        return logits_BWC.masked_fill(places_BW1 == NO_WORD, torch.nan)
