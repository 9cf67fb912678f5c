"""Feed-forward only: the feed-forward halves of the blocks, and the output layers."""

from __future__ import annotations

from tunewise.methods.base import Method
from tunewise.methods.parts import BlockChoiceConfig, half_tensors, head_rules, tensor_rules, wanted_blocks
from tunewise.types import ModelMap, Plan, Signals


class FeedForward(Method):
    """Trains the layers between the attentions, with their biases; norms stay."""

    name = "feed_forward"
    group = "full and partial"
    trains = "the feed-forward halves of blocks, and the output layers"
    source = "Ye et al. 2023, Partial Fine-Tuning: A Successor to Full Fine-Tuning for Vision Transformers"
    instead = "blocks"
    Config = BlockChoiceConfig

    def plan(self, model: ModelMap, signals: Signals) -> Plan:
        blocks = wanted_blocks(self.name, self.config, model)
        tensors = [tensor for block in blocks for tensor in half_tensors(block, "feed_forward")]
        if not tensors:
            self.refuse(f"the blocks of a '{model.family}' model have no feed-forward half")
        rules = (*tensor_rules(tensors), *head_rules(model, self.config.head_rate))
        return Plan(rules=rules, learning_rate=self.learning_rate(model))

    @classmethod
    def default_learning_rate(cls, model: ModelMap) -> float:
        """1.5x that of full fine-tuning: two thirds of the blocks' weights must make the change."""
        return 1.5 * super().default_learning_rate(model)
