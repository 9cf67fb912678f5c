"""BitFit: biases only, and the output layers."""

from __future__ import annotations

from tunewise.methods.base import Method
from tunewise.methods.parts import new_head_rules, tensor_rules, vector_learning_rate
from tunewise.types import ModelMap, Plan, Signals


class BitFit(Method):
    """Trains b in every y = W x + b, and the shift of every norm; weights stay."""

    name = "bitfit"
    group = "norms and biases"
    trains = "all biases, and the output layers"
    source = "Ben Zaken, Ravfogel, Goldberg 2022, BitFit: Simple Parameter-Efficient Fine-Tuning"
    instead = "norms"

    def plan(self, model: ModelMap, signals: Signals) -> Plan:
        groups = (model.embedding, *(block.tensors for block in model.blocks))
        biases = [tensor for group in groups for tensor in group if tensor.name.endswith("bias")]
        if not any(tensor.name.endswith("bias") for block in model.blocks for tensor in block.tensors):
            self.refuse(f"the blocks of this '{model.family}' model have no biases")
        return Plan(rules=(*tensor_rules(biases), *new_head_rules(model)), learning_rate=self.learning_rate(model))

    @classmethod
    def default_learning_rate(cls, model: ModelMap) -> float:
        """1e-3 (768 / width), at most 3e-3: the upper end of the paper's grid for BERT-base."""
        return vector_learning_rate(model)
