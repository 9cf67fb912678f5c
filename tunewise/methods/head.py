"""Output layers only: the pretrained encoder stays as it is."""

from __future__ import annotations

from tunewise.methods.base import Method
from tunewise.methods.parts import head_rules, refuse_without_head
from tunewise.types import ModelMap, Plan, Signals


class Head(Method):
    """Trains what comes after the last block: the pooling layer where the model has one, and the output layer."""

    name = "head"
    group = "frozen features"
    trains = "output layers only"
    source = "Raschka 2023, Finetuning Large Language Models (last layers only)"

    def plan(self, model: ModelMap, signals: Signals) -> Plan:
        refuse_without_head(self, model)
        return Plan(rules=head_rules(model), learning_rate=self.learning_rate(model))

    @classmethod
    def default_learning_rate(cls, model: ModelMap) -> float:
        """50x that of full fine-tuning: nothing pretrained below can be damaged. 20x for a language model, whose output
        layer is pretrained itself: of a Llama of 260,000 weights, 10x, 20x and 50x led to a perplexity of 4.29, 4.33
        and 4.45 on texts like those of its pretraining, and of 15.5, 14.0 and 13.3 on others."""
        return (20 if model.has_pretrained_head else 50) * super().default_learning_rate(model)
