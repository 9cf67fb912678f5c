"""Attention only: the attention halves of the blocks, and the output layers."""

from __future__ import annotations

from tunewise.methods.base import Method
from tunewise.methods.parts import BlockChoiceConfig, half_tensors, head_rules, tensor_rules, wanted_blocks
from tunewise.types import ModelMap, Plan, Signals


class Attention(Method):
    """Trains the projections of query, key, value and output, with their biases; norms stay."""

    name = "attention"
    group = "full and partial"
    trains = "the attention halves of blocks, and the output layers"
    source = "Touvron et al. 2022, Three Things Everyone Should Know About Vision Transformers, section 4"
    instead = "blocks"
    Config = BlockChoiceConfig

    def plan(self, model: ModelMap, signals: Signals) -> Plan:
        blocks = wanted_blocks(self.name, self.config, model)
        tensors = [tensor for block in blocks for tensor in half_tensors(block, "attention")]
        if not tensors:
            self.refuse(f"the blocks of a '{model.family}' model have no attention")
        rules = (*tensor_rules(tensors), *head_rules(model, self.config.head_rate))
        return Plan(rules=rules, learning_rate=self.learning_rate(model))

    @classmethod
    def default_learning_rate(cls, model: ModelMap) -> float:
        """Twice that of full fine-tuning: a third of the blocks' weights must make the change."""
        return 2 * super().default_learning_rate(model)
