"""ULMFiT: gradual unfreezing, lower rates for lower layers, and the slanted triangular schedule."""

from __future__ import annotations

from dataclasses import replace

from pydantic import Field

from tunewise.methods.gradual import Gradual, UnfreezingConfig
from tunewise.methods.parts import block_rules, head_rules, tensor_rules
from tunewise.types import ModelMap, Plan, Rule, Signals


class UlmfitConfig(UnfreezingConfig):
    divisor: float = Field(default=2.6, ge=1)
    """By how much the rate of a layer is lower than that of the one above. With the paper's 2.6 the layers below the
    sixth from the top hardly move; for deep models take less."""


class Ulmfit(Gradual):
    """Layer n below the output layers trains at learning_rate / divisor^n, from the phase on in which it is unfrozen;
    the rate rises for a tenth of the training and falls for the rest (slanted triangle)."""

    name = "ulmfit"
    group = "rates and schedules"
    trains = "one more block at a time from the top, lower ones at lower rates"
    source = "Howard and Ruder 2018, Universal Language Model Fine-tuning for Text Classification, sections 3.2 and 3.3"
    Config = UlmfitConfig

    def plan(self, model: ModelMap, signals: Signals) -> Plan:
        return replace(super().plan(model, signals), schedule="slanted_triangular")

    def _groups(self, model: ModelMap) -> list[tuple[Rule, ...]]:
        scales = [self.config.divisor**-below for below in range(len(model.blocks) + 2)]
        blocks = [
            block_rules([block], scale) for block, scale in zip(reversed(model.blocks), scales[1:-1], strict=True)
        ]
        return [head_rules(model), *blocks, tensor_rules(model.embedding, scales[-1])]

    @classmethod
    def default_learning_rate(cls, model: ModelMap) -> float:
        """10x that of full fine-tuning, for the output layers; full's own is then that of the second or third block
        below."""
        return 5 * super().default_learning_rate(model)
