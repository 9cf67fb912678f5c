"""The norm at the end of each block, and the output layers."""

from __future__ import annotations

from tunewise.methods.base import Method
from tunewise.methods.parts import half_of, new_head_rules, tensor_rules, vector_learning_rate
from tunewise.types import Block, ModelMap, Plan, Signals, TensorInfo


class OutputNorm(Method):
    """Trains the one norm per block that fine-tuning changes most: in BERT and its kin (post-norm) the one that closes
    the block. Where norms stand before the halves instead (pre-norm: GPT-2, Llama, T5, ViT) no norm closes a block, and
    the last one in it is taken, which feeds the feed-forward half."""

    name = "output_norm"
    group = "norms and biases"
    trains = "the last norm of each block, and the output layers"
    source = "ValizadehAslani and Liang 2024, LayerNorm: A Key Component in Parameter-Efficient Fine-Tuning"

    def plan(self, model: ModelMap, signals: Signals) -> Plan:
        norms = [tensor for block in model.blocks for tensor in _output_norm(block)]
        if not norms:
            self.refuse(f"no norm with weights was found behind the attention of a '{model.family}' model's blocks")
        return Plan(rules=(*tensor_rules(norms), *new_head_rules(model)), learning_rate=self.learning_rate(model))

    @classmethod
    def default_learning_rate(cls, model: ModelMap) -> float:
        """That of `norms`: 1e-3 (768 / width), at most 3e-3."""
        return vector_learning_rate(model)


def _output_norm(block: Block) -> tuple[TensorInfo, ...]:
    """Weight and bias of the last norm that is not part of the attention (ALBERT registers the two in turned order)."""
    norms = [tensor for tensor in block.tensors if tensor.kind == "norm" and half_of(tensor, block) != "attention"]
    last = {tensor.name.rpartition(".")[0] for tensor in norms[-1:]}
    return tuple(tensor for tensor in norms if tensor.name.rpartition(".")[0] in last)
