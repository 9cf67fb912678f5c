"""Partial fine-tuning of the blocks that a measurement points to."""

from __future__ import annotations

from typing import Literal

import numpy as np
from pydantic import Field

from tunewise.errors import MethodError
from tunewise.methods.base import Method
from tunewise.methods.full import Full
from tunewise.methods.parts import HeadRateConfig, block_rules, head_rules
from tunewise.types import Block, ModelMap, Need, Plan, Signals, TensorInfo


class ChosenBlocksConfig(HeadRateConfig):
    k: int = Field(default=2, ge=1)
    """How many blocks train, besides the output layers."""

    metric: Literal["angle", "gradient_norm", "fisher"] = "angle"
    """What is measured of each block before the training. angle: between its matrices before and after a short full
    fine-tuning, which is undone (mean, by size). gradient_norm: of the mean gradient. fisher: the mean of the squared
    gradients of single rows."""

    direction: Literal["largest", "smallest"] = "largest"
    """Whether the blocks with the largest values train, or those with the smallest."""

    batches: int = Field(default=10, ge=1)
    """Training batches to measure on; for angle, the steps of the short fine-tuning. Where rows are prompts, what is
    measured on is the answers of the first round, however many these are."""


class ChosenBlocks(Method):
    """Trains the k blocks of the largest (or smallest) angle between pretrained and briefly fine-tuned weights,
    arccos(<w0, w1> / (|w0| |w1|)), or of another metric. A norm between the stages of a convolutional net is not
    chosen: blocks have matrices or kernels."""

    name = "chosen_blocks"
    group = "full and partial"
    trains = "the k blocks that a measurement chooses, and the output layers"
    source = "Ye et al. 2023, Partial Fine-Tuning: A Successor to Full Fine-Tuning for Vision Transformers"
    Config = ChosenBlocksConfig

    def needs(self, model: ModelMap, signals: Signals) -> tuple[Need, ...]:
        tensors = tuple(f"{block.path}.*" for block in model.blocks)
        return (Need(self.config.metric, self.config.batches, tensors, Full.default_learning_rate(model)),)

    def plan(self, model: ModelMap, signals: Signals) -> Plan:
        blocks = [block for block in model.blocks if any(_is_matrix(tensor) for tensor in block.tensors)]
        k, depth = self.config.k, len(blocks)
        if k > depth:
            raise MethodError(
                f"chosen_blocks: k is {k}, but the model has {depth} blocks",
                fix=f"set k between 1 and {depth}, or take the method 'full'",
            )
        values, sign = signals.measures[self.config.metric], -1.0 if self.config.direction == "largest" else 1.0
        # Of blocks that measure the same, the upper: its gradient is the cheaper.
        order = sorted(blocks, key=lambda block: (sign * self._value(block, values), -block.index))
        chosen = sorted(order[:k], key=lambda block: block.index)
        return Plan(
            rules=(*block_rules(chosen), *head_rules(model, self.config.head_rate)),
            learning_rate=self.learning_rate(model),
        )

    def _value(self, block: Block, values: dict[str, np.ndarray]) -> float:
        if self.config.metric == "gradient_norm":
            return float(np.sqrt(sum(float(values[tensor.name]) ** 2 for tensor in block.tensors)))
        if self.config.metric == "fisher":
            return float(np.mean(np.concatenate([values[tensor.name].ravel() for tensor in block.tensors])))
        matrices = [tensor for tensor in block.tensors if _is_matrix(tensor)]
        return float(np.average([values[t.name] for t in matrices], weights=[t.size for t in matrices]))

    @classmethod
    def default_learning_rate(cls, model: ModelMap) -> float:
        """As `last_k`: 4x that of full fine-tuning."""
        return 4 * super().default_learning_rate(model)


def _is_matrix(tensor: TensorInfo) -> bool:
    return len(tensor.shape) > 1
