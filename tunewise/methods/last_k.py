"""Partial fine-tuning: the top blocks and the output layers."""

from __future__ import annotations

from pydantic import Field

from tunewise.errors import MethodError
from tunewise.methods.base import Method
from tunewise.methods.parts import HeadRateConfig, block_rules, head_rules
from tunewise.types import ModelMap, Plan, Signals


class LastKConfig(HeadRateConfig):
    k: int = Field(default=2, ge=1)
    """How many blocks from the top train, besides the output layers."""


class LastK(Method):
    """Freezes embedding and lower blocks; their work is done once per batch forward, never backward."""

    name = "last_k"
    group = "full and partial"
    trains = "the top k blocks and the output layers"
    source = "Lee, Tang, Lin 2019, What Would Elsa Do? Freezing Layers During Transformer Fine-Tuning"
    Config = LastKConfig

    def plan(self, model: ModelMap, signals: Signals) -> Plan:
        k, depth = self.config.k, len(model.blocks)
        if k > depth:
            raise MethodError(
                f"last_k: k is {k}, but the model has {depth} blocks",
                fix=f"set k between 1 and {depth}, or take the method 'full'",
            )
        rules = (*block_rules(model.blocks[depth - k :]), *head_rules(model, self.config.head_rate))
        return Plan(rules=rules, learning_rate=self.learning_rate(model))

    @classmethod
    def default_learning_rate(cls, model: ModelMap) -> float:
        """4x that of full fine-tuning: fewer layers must make the change."""
        return 4 * super().default_learning_rate(model)
