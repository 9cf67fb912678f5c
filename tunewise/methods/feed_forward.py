"""Feed-forward only: the feed-forward halves of the blocks, and the output layers."""

from __future__ import annotations

from tunewise.methods.halves import OneHalf
from tunewise.types import ModelMap


class FeedForward(OneHalf):
    """Trains the layers between the attentions, with their biases; norms stay."""

    name = "feed_forward"
    trains = "the feed-forward halves of blocks, and the output layers"
    source = "Ye et al. 2023, Partial Fine-Tuning: A Successor to Full Fine-Tuning for Vision Transformers"
    half = "feed_forward"
    half_words = "feed-forward half"

    @classmethod
    def default_learning_rate(cls, model: ModelMap) -> float:
        """1.5x that of full fine-tuning: two thirds of the blocks' weights must make the change."""
        return 1.5 * super().default_learning_rate(model)
