"""Full fine-tuning: every tensor trains."""

from __future__ import annotations

from pydantic import Field

from tunewise.methods.base import Method, MethodConfig
from tunewise.types import ModelMap, Plan, Rule, Signals


class FullConfig(MethodConfig):
    head_rate: float = Field(default=1.0, gt=0)
    """Factor on the learning rate of the output layers. They start from random values, and with many classes and few
    steps the rate that is safe for the rest is too low for them (see the results on banking77)."""


class Full(Method):
    """All weights move. The reference that cheaper methods are measured against."""

    name = "full"
    trains = "every tensor"
    source = "Devlin et al. 2019, BERT, section 3.2"
    Config = FullConfig

    def plan(self, model: ModelMap, signals: Signals) -> Plan:
        head = () if self.config.head_rate == 1 else tuple(Rule(t.name, self.config.head_rate) for t in model.head)
        return Plan(rules=(*head, Rule("*")), learning_rate=self.learning_rate(model))
