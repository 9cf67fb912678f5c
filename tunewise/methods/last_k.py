"""Partial fine-tuning: the top blocks and the output layers."""

from __future__ import annotations

from pydantic import Field

from tunewise.errors import MethodError
from tunewise.methods.base import Method, MethodConfig
from tunewise.types import ModelMap, Plan, Rule, Signals


class LastKConfig(MethodConfig):
    k: int = Field(default=2, ge=1)
    """How many blocks from the top train, besides the output layers."""


class LastK(Method):
    """Freezes embedding and lower blocks; their work is done once per batch forward, never backward."""

    name = "last_k"
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
        top = tuple(Rule(f"{block.path}.*") for block in model.blocks[depth - k :])
        head = tuple(Rule(tensor.name) for tensor in model.head)
        return Plan(rules=top + head, learning_rate=self.learning_rate(model))

    @classmethod
    def default_learning_rate(cls, model: ModelMap) -> float:
        """4x that of full fine-tuning: fewer layers must make the change."""
        return 4 * super().default_learning_rate(model)
