"""What the methods have in common that train one half of each block."""

from __future__ import annotations

from typing import ClassVar

from tunewise.methods.base import Method
from tunewise.methods.parts import BlockChoiceConfig, half_tensors, new_head_rules, tensor_rules, wanted_blocks
from tunewise.types import ModelMap, Plan, Signals, TensorKind


class OneHalf(Method):
    """Weights and biases of one half of the chosen blocks, and the output layers.

    Attributes:
        half: the kind of its weights.
        half_words: what a model has not that has none.
    """

    half: ClassVar[TensorKind]
    half_words: ClassVar[str]
    group = "full and partial"
    instead = "blocks"
    Config = BlockChoiceConfig

    def plan(self, model: ModelMap, signals: Signals) -> Plan:
        blocks = wanted_blocks(self.name, self.config, model)
        tensors = [tensor for block in blocks for tensor in half_tensors(block, self.half)]
        if not tensors:
            self.refuse(f"the blocks of a '{model.family}' model have no {self.half_words}")
        rules = (*tensor_rules(tensors), *new_head_rules(model, self.config.head_rate))
        return Plan(rules=rules, learning_rate=self.learning_rate(model))
