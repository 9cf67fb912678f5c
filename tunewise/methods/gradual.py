"""Gradual unfreezing: one group at a time, from the top."""

from __future__ import annotations

from typing import Literal

from pydantic import Field

from tunewise.methods.base import Method, MethodConfig
from tunewise.methods.parts import HeadRateConfig, block_rules, head_rules, refuse_without_head, tensor_rules
from tunewise.methods.phases import current_phase
from tunewise.types import ModelMap, Plan, Rule, Signals


class UnfreezingConfig(MethodConfig):
    every: Literal["auto", "epoch"] = "auto"
    """epoch: one more group at each epoch, as the paper has it. auto: at even distances, so that all groups train by
    `over`, however short the training is."""

    over: float = Field(default=0.5, gt=0, le=1)
    """auto: share of the training after which every group trains."""


class GradualConfig(UnfreezingConfig, HeadRateConfig):
    pass


class Gradual(Method):
    """Starts with the head; each phase adds the next block below, the embedding last. Groups that train already keep
    the optimiser's moments."""

    name = "gradual"
    group = "rates and schedules"
    trains = "output layers first, then one more block at a time"
    source = "Howard and Ruder 2018, Universal Language Model Fine-tuning for Text Classification, section 3.3"
    Config = GradualConfig

    def plan(self, model: ModelMap, signals: Signals) -> Plan:
        refuse_without_head(self, model)
        groups = self._groups(model)
        phase, until = current_phase(self._starts(len(groups), signals), signals)
        rules = tuple(rule for group in groups[: phase + 1] for rule in group)
        return Plan(rules=rules, learning_rate=self.learning_rate(model), until=until)

    def _groups(self, model: ModelMap) -> list[tuple[Rule, ...]]:
        """The rules of each group, in the order in which they begin to train."""
        blocks = [block_rules([block]) for block in reversed(model.blocks)]
        return [head_rules(model, self.config.head_rate), *blocks, tensor_rules(model.embedding)]

    def _starts(self, phases: int, signals: Signals) -> list[int]:
        """The optimiser step at which each group begins to train."""
        if self.config.every == "epoch":
            return [phase * signals.steps_per_epoch for phase in range(phases)]
        return [round(phase * self.config.over * signals.total_steps / (phases - 1)) for phase in range(phases)]

    @classmethod
    def default_learning_rate(cls, model: ModelMap) -> float:
        """Twice that of full fine-tuning: most layers train for a part of the time only."""
        return 2 * super().default_learning_rate(model)
