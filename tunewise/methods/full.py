"""Full fine-tuning: every tensor trains at one rate."""

from __future__ import annotations

from tunewise.methods.base import Method
from tunewise.types import ModelMap, Plan, Rule, Signals


class Full(Method):
    """All weights move. The reference that cheaper methods are measured against."""

    name = "full"
    trains = "every tensor"
    source = "Devlin et al. 2019, BERT, section 3.2"

    def plan(self, model: ModelMap, signals: Signals) -> Plan:
        return Plan(rules=(Rule("*"),), learning_rate=self.learning_rate(model))
