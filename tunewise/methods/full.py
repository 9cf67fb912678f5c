"""Full fine-tuning: every tensor trains."""

from __future__ import annotations

from tunewise.methods.base import Method
from tunewise.methods.parts import HeadRateConfig, all_rules
from tunewise.types import ModelMap, Plan, Signals


class Full(Method):
    """All weights move. The reference that cheaper methods are measured against."""

    name = "full"
    group = "full and partial"
    trains = "every tensor"
    source = "Devlin et al. 2019, BERT, section 3.2"
    Config = HeadRateConfig

    def plan(self, model: ModelMap, signals: Signals) -> Plan:
        return Plan(rules=all_rules(model, self.config.head_rate), learning_rate=self.learning_rate(model))
