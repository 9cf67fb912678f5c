"""Attention only: the attention halves of the blocks, and the output layers."""

from __future__ import annotations

from tunewise.methods.halves import OneHalf
from tunewise.types import ModelMap


class Attention(OneHalf):
    """Trains the projections of query, key, value and output, with their biases; norms stay."""

    name = "attention"
    trains = "the attention halves of blocks, and the output layers"
    source = "Touvron et al. 2022, Three Things Everyone Should Know About Vision Transformers, section 4"
    half = "attention"
    half_words = "attention"

    @classmethod
    def default_learning_rate(cls, model: ModelMap) -> float:
        """Twice that of full fine-tuning: a third of the blocks' weights must make the change."""
        return 2 * super().default_learning_rate(model)
