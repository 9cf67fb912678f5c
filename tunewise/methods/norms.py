"""Norms only: weights and biases of all normalisation layers, and the output layers."""

from __future__ import annotations

from tunewise.methods.base import Method
from tunewise.methods.parts import new_head_rules, tensor_rules, vector_learning_rate
from tunewise.types import ModelMap, Plan, Signals


class Norms(Method):
    """Trains scale and shift of every LayerNorm, RMSNorm or batch norm, the embedding's too; running statistics of
    batch norms stay."""

    name = "norms"
    group = "norms and biases"
    trains = "all norms, and the output layers"
    source = "ValizadehAslani and Liang 2024, LayerNorm: A Key Component in Parameter-Efficient Fine-Tuning"

    def plan(self, model: ModelMap, signals: Signals) -> Plan:
        norms = [tensor for tensor in model.tensors if tensor.kind == "norm"]
        if not norms:
            self.refuse(f"the norms of a '{model.family}' model have no weights")
        return Plan(rules=(*tensor_rules(norms), *new_head_rules(model)), learning_rate=self.learning_rate(model))

    @classmethod
    def default_learning_rate(cls, model: ModelMap) -> float:
        """1e-3 (768 / width), at most 3e-3. At full fine-tuning's rate so few scalars hardly move: peft's comparison of
        methods scored 0 at 1e-4."""
        return vector_learning_rate(model)
