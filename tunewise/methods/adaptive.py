"""Adaptive back-propagation: the tensors that lower the loss most, within a budget of FLOPs."""

from __future__ import annotations

import math

from pydantic import Field, field_validator

from tunewise.methods.base import Method
from tunewise.methods.knapsack import Item, choose
from tunewise.methods.parts import HeadRateConfig, head_rules
from tunewise.types import ModelMap, Need, Plan, Rule, Signals

# Measurements take at most this share of what the budget leaves for the backward pass. One costs two passes over a
# step's rows with all tensors training: 2% of it in a training of 300 steps at rho 0.5, more than all in one of 12.
MEASURING_SHARE = 0.1


class AdaptiveConfig(HeadRateConfig):
    rho: float = Field(default=0.5, le=1)
    """FLOPs of the training, measurements included, as a share of those of full fine-tuning. 0.5 leaves a quarter of
    the backward pass. 1: no budget; every tensor that lowers the loss trains. What a model writes to learn from is the
    same whatever trains, and is not counted here."""

    interval: float = Field(default=2.0, gt=0)
    """Epochs from one choice of tensors to the next. It is longer where measurements would take more than a tenth of
    what the budget leaves for the backward pass."""

    @field_validator("rho")
    @classmethod
    def _leaves_a_backward_pass(cls, rho: float) -> float:
        if rho <= 1 / 3:
            raise ValueError(
                "rho must be above 1/3: the forward pass is always paid, and is about a third of the FLOPs of a step"
            )
        return rho


class Adaptive(Method):
    """Before the training and at each interval, all tensors take one real optimiser step dw, which is undone;
    tensor k is worth I_k = -sum(dw x gradient after the step), by how much it lowers the loss to first order. The
    tensors with the largest sum of I_k then train, of all sets whose gradients cost no more than the budget: their own
    FLOPs, and those of passing the gradient down to the deepest of them. The set is exact (see `knapsack`). The output
    layers always train; where they are the embedding, what comes last in the top block does, so that a budget that
    leaves room for nothing else still has something to train. An encoder counts as below all of its decoder."""

    name = "adaptive"
    group = "adaptive"
    trains = "the tensors that lower the loss most, within a budget of FLOPs, and the output layers"
    source = "Huang et al. 2024, Towards Green AI in Fine-Tuning Large Language Models via Adaptive Backpropagation"
    Config = AdaptiveConfig

    def needs(self, model: ModelMap, signals: Signals) -> tuple[Need, ...]:
        return (Need("importance"),)

    def plan(self, model: ModelMap, signals: Signals) -> Plan:
        until, budget = self._until_and_budget(signals)
        importance = {name: float(value) for name, value in signals.measures["importance"].items()}
        head = {tensor.name for tensor in model.head}
        always = head or _last_module(signals)
        items = [
            Item(importance[tensor.name], tensor.weight, tensor.input, always=tensor.name in always)
            for tensor in signals.flops
        ]
        chosen = [signals.flops[number].name for number in choose(items, budget)]
        return Plan(
            rules=(
                *head_rules(model, self.config.head_rate),
                *(Rule(name) for name in chosen if name not in head),
            ),
            learning_rate=self.learning_rate(model),
            until=until,
        )

    def _until_and_budget(self, signals: Signals) -> tuple[int | None, float]:
        """The step of the next choice, and the FLOPs of the backward pass of each step until the end."""
        steps = signals.total_steps - signals.step
        full = signals.forward_flops + sum(tensor.weight + tensor.input for tensor in signals.flops)
        measurement = 2 * full
        left = self.config.rho * signals.full_flops - signals.spent_flops - steps * signals.forward_flops
        more = math.inf if self.config.rho == 1 else max(0, int(MEASURING_SHARE * left / measurement))
        interval = max(1, round(self.config.interval * signals.steps_per_epoch), math.ceil(steps / (more + 1)))
        more = math.ceil(steps / interval) - 1
        until = signals.step + interval if more else None
        if self.config.rho == 1:
            return until, math.inf
        return until, (left - more * measurement) / steps

    @classmethod
    def default_learning_rate(cls, model: ModelMap) -> float:
        """Twice that of full fine-tuning: fewer tensors must make the change."""
        return 2 * super().default_learning_rate(model)


def _last_module(signals: Signals) -> set[str]:
    """The tensors of the module that the model executes last: with a tied output layer, the norm of the top block."""
    module = signals.flops[-1].name.rpartition(".")[0]
    return {tensor.name for tensor in signals.flops if tensor.name.startswith(f"{module}.")}
