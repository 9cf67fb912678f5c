"""Some blocks, wherever they are, and the output layers."""

from __future__ import annotations

from typing import Literal

from pydantic import Field

from tunewise.methods.base import Method
from tunewise.methods.parts import BlockChoiceConfig, block_rules, new_head_rules, wanted_blocks
from tunewise.types import ModelMap, Plan, Signals


class BlocksConfig(BlockChoiceConfig):
    blocks: Literal["all", "first", "middle", "last"] | list[int] = Field(default="middle", min_length=1)
    """Which blocks: the first, middle or last `count`, a list of numbers, or all (everything but the embedding). The
    lowest block is 0; those of a decoder are numbered on from the encoder's."""


class Blocks(Method):
    """Which blocks should move depends on how the data differs from that of pretraining: the first where inputs look
    different, the last where labels mean something else, the middle in between."""

    name = "blocks"
    group = "full and partial"
    trains = "chosen blocks, and the output layers"
    source = "Lee et al. 2023, Surgical Fine-Tuning Improves Adaptation to Distribution Shifts"
    Config = BlocksConfig

    def plan(self, model: ModelMap, signals: Signals) -> Plan:
        blocks = block_rules(wanted_blocks(self.name, self.config, model))
        rules = (*blocks, *new_head_rules(model, self.config.head_rate))
        return Plan(rules=rules, learning_rate=self.learning_rate(model))

    @classmethod
    def default_learning_rate(cls, model: ModelMap) -> float:
        """4x that of full fine-tuning, as for `last_k`: fewer layers must make the change."""
        return 4 * super().default_learning_rate(model)
