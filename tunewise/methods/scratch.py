"""The control: the same architecture from random weights."""

from __future__ import annotations

from tunewise.methods.base import Method
from tunewise.types import ModelMap, Plan, Rule, Signals


class Scratch(Method):
    """Full training of a model whose weights were drawn anew: what it lacks to `full` is what pretraining is worth.
    Batch norms begin anew too, and update their statistics."""

    name = "scratch"
    group = "controls"
    trains = "every tensor, from random weights (a control)"
    control = True
    starts_unchanged = False
    source = "He, Girshick, Dollar 2019, Rethinking ImageNet Pre-training"

    def plan(self, model: ModelMap, signals: Signals) -> Plan:
        return Plan(rules=(Rule("*"),), learning_rate=self.learning_rate(model), reset=("*",))

    @classmethod
    def default_learning_rate(cls, model: ModelMap) -> float:
        """That of full fine-tuning, so that only the start differs."""
        return super().default_learning_rate(model)
