"""Layer-wise learning-rate decay: lower layers move less."""

from __future__ import annotations

from typing import Literal

from pydantic import Field

from tunewise.methods.base import Method
from tunewise.methods.parts import HeadRateConfig, block_rules, head_rules, tensor_rules
from tunewise.types import ModelMap, Plan, Signals


class LayerwiseConfig(HeadRateConfig):
    decay: float = Field(default=0.8, gt=0, le=1)
    """Factor d from one layer to the one below; 1 is full fine-tuning."""

    rule: Literal["beit", "electra"] = "beit"
    """beit: scale d^(L+1-id) with id 0 for the embedding, 1..L for blocks, L+1 for the head, so that the top block has
    d. electra: d^(L+2-depth) with the head at depth L+2, so that the top block has d^2."""


class Layerwise(Method):
    """Every tensor trains, at learning_rate x scale(its layer). Layers are counted down from the head; those of an
    encoder lie below the decoder's."""

    name = "layerwise"
    group = "rates and schedules"
    trains = "every tensor, lower layers at lower rates"
    source = "Clark et al. 2020, ELECTRA; Bao et al. 2022, BEiT (layer-wise learning-rate decay)"
    Config = LayerwiseConfig

    def plan(self, model: ModelMap, signals: Signals) -> Plan:
        decay, depth = self.config.decay, len(model.blocks)
        below_head = 1 if self.config.rule == "beit" else 2
        rules = [*head_rules(model, self.config.head_rate)]
        for block in reversed(model.blocks):
            rules += block_rules([block], decay ** (depth - 1 - block.index + below_head))
        rules += tensor_rules(model.embedding, decay ** (depth + below_head))
        return Plan(rules=tuple(rules), learning_rate=self.learning_rate(model))

    @classmethod
    def default_learning_rate(cls, model: ModelMap) -> float:
        """Twice that of full fine-tuning, which is then the rate in the middle of a model of 6 to 12 blocks."""
        return 2 * super().default_learning_rate(model)
