"""Chain-thaw: each layer alone, one after the other, then all."""

from __future__ import annotations

from typing import Self

from pydantic import Field, model_validator

from tunewise.methods.base import Method, MethodConfig
from tunewise.methods.parts import all_rules, block_rules, head_rules, refuse_without_head, tensor_rules
from tunewise.methods.phases import current_phase
from tunewise.types import ModelMap, Plan, Signals


class ChainThawConfig(MethodConfig):
    probe_share: float = Field(default=0.2, gt=0, lt=1)
    """Share of the training in which the output layers train alone, at the start."""

    probe_rate: float = Field(default=10.0, gt=0)
    """Factor on the learning rate in that time (as in the authors' code)."""

    all_share: float = Field(default=0.3, gt=0, lt=1)
    """Share of the training in which every tensor trains, at the end. What is between the two is divided evenly among
    the layers."""

    @model_validator(mode="after")
    def _time_for_the_layers(self) -> Self:
        if self.probe_share + self.all_share >= 1:
            raise ValueError(
                f"probe_share {self.probe_share:g} and all_share {self.all_share:g} leave no time for the layers; "
                "together they must be below 1"
            )
        return self


class ChainThaw(Method):
    """First the output layers alone, then the embedding alone, then each block alone from the bottom, at last all: the
    frozen neighbours keep each layer from adapting to noise. The paper trains each phase to its best on validation;
    here each has its share of the steps."""

    name = "chain_thaw"
    group = "rates and schedules"
    trains = "output layers, then each layer alone from the bottom, then every tensor"
    source = "Felbo et al. 2017, Using Millions of Emoji Occurrences to Learn Any-Domain Representations (DeepMoji)"
    Config = ChainThawConfig

    def plan(self, model: ModelMap, signals: Signals) -> Plan:
        refuse_without_head(self, model)
        probe = head_rules(model, self.config.probe_rate)
        layers = [tensor_rules(model.embedding), *(block_rules([block]) for block in model.blocks)]
        phase, until = current_phase(self._starts(len(layers), signals.total_steps), signals)
        rules = (probe, *layers, all_rules(model))[phase]
        return Plan(rules=rules, learning_rate=self.learning_rate(model), until=until)

    def _starts(self, layers: int, total_steps: int) -> list[int]:
        """The optimiser steps at which the phases begin: output layers, each layer, all."""
        between = 1 - self.config.probe_share - self.config.all_share
        shares = [self.config.probe_share + between * layer / layers for layer in range(layers + 1)]
        return [0, *(max(1, round(share * total_steps)) for share in shares)]

    @classmethod
    def default_learning_rate(cls, model: ModelMap) -> float:
        """Twice that of full fine-tuning: each layer trains for a part of the time only."""
        return 2 * super().default_learning_rate(model)
