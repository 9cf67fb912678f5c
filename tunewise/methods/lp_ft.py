"""Linear probing, then full fine-tuning."""

from __future__ import annotations

from pydantic import Field

from tunewise.methods.base import Method, MethodConfig
from tunewise.methods.parts import all_rules, head_rules, refuse_without_head
from tunewise.methods.phases import current_phase
from tunewise.types import ModelMap, Plan, Signals


class LpFtConfig(MethodConfig):
    probe_share: float = Field(default=0.3, gt=0, lt=1)
    """Share of the training in which the output layers train alone."""

    probe_rate: float = Field(default=50.0, gt=0)
    """Factor on the learning rate in that time. 50 makes it that of the method `head`."""


class LpFt(Method):
    """The output layers are fitted first, so that full fine-tuning does not distort the pretrained layers for the sake
    of random ones."""

    name = "lp_ft"
    group = "rates and schedules"
    trains = "output layers first, then every tensor"
    source = "Kumar et al. 2022, Fine-Tuning can Distort Pretrained Features and Underperform Out-of-Distribution"
    Config = LpFtConfig

    def plan(self, model: ModelMap, signals: Signals) -> Plan:
        refuse_without_head(self, model)
        starts = (0, max(1, round(self.config.probe_share * signals.total_steps)))
        phase, until = current_phase(starts, signals)
        rules = head_rules(model, self.config.probe_rate) if phase == 0 else all_rules(model)
        return Plan(rules=rules, learning_rate=self.learning_rate(model), until=until)
