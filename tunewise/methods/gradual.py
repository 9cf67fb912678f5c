"""Gradual unfreezing: one group at a time, from the top."""

from __future__ import annotations

from typing import Literal

from pydantic import Field

from tunewise.methods.base import Method, MethodConfig
from tunewise.types import ModelMap, Plan, Rule, Signals


class GradualConfig(MethodConfig):
    every: Literal["auto", "epoch"] = "auto"
    """epoch: one more group at each epoch (ULMFiT). auto: at even distances, so that all groups train by `over`."""

    over: float = Field(default=0.5, gt=0, le=1)
    """auto: share of the training after which every group trains."""


class Gradual(Method):
    """Starts with the head; each phase adds the next block below, the embedding last. Groups that train already keep
    the optimiser's moments."""

    name = "gradual"
    trains = "output layers first, then one more block at a time"
    source = "Howard and Ruder 2018, Universal Language Model Fine-tuning for Text Classification, section 3.3"
    Config = GradualConfig

    def plan(self, model: ModelMap, signals: Signals) -> Plan:
        phases = len(model.blocks) + 2
        starts = [self._start(phase, phases, signals) for phase in range(phases)]
        phase = max(number for number, start in enumerate(starts) if start <= signals.step)
        until = next((start for start in starts if start > signals.step), None)

        rules = [Rule(tensor.name) for tensor in model.head]
        rules += [Rule(f"{block.path}.*") for block in model.blocks[::-1][:phase]]
        if phase == phases - 1:
            rules += [Rule(tensor.name) for tensor in model.embedding]
        return Plan(
            rules=tuple(rules),
            learning_rate=self.learning_rate(model),
            until=until if until is not None and until < signals.total_steps else None,
        )

    def _start(self, phase: int, phases: int, signals: Signals) -> int:
        """The optimiser step at which a phase begins; several may begin at one step in a short training."""
        if self.config.every == "epoch":
            return phase * signals.steps_per_epoch
        return round(phase * self.config.over * signals.total_steps / (phases - 1))

    @classmethod
    def default_learning_rate(cls, model: ModelMap) -> float:
        """Twice that of full fine-tuning: most layers train for a part of the time only."""
        return 2 * super().default_learning_rate(model)
