"""DoRA: low-rank updates of the direction of weights, with their magnitude trained apart."""

from __future__ import annotations

from typing import Any

from pydantic import Field

from tunewise.methods.lora import Lora, LoraConfig
from tunewise.types import ModelMap, Rule


class DoraConfig(LoraConfig):
    head_rate: float = Field(default=1.5, gt=0)
    """Factor on the learning rate of the output layers; 1.5 gives them LoRA's."""


class Dora(Lora):
    """y = m (W + (alpha / r) B A) x / |W + (alpha / r) B A|, with one norm and one trained magnitude m per output; m
    starts as |W| and B as zero. The norm counts as a constant in the backward pass (section 4.3 of the paper). Layers
    in which an output has no weights but zeros are left as they are: it has no direction."""

    name = "dora"
    group = "low-rank and multiplicative"
    trains = "magnitudes and low-rank updates of the directions of linear layers, and the output layers"
    source = "Liu et al. 2024, DoRA: Weight-Decomposed Low-Rank Adaptation"
    instead = "lora"
    stacks = False
    Config = DoraConfig

    def options(self, model: ModelMap) -> dict[str, Any]:
        return {**super().options(model), "use_dora": True}

    def rules(self) -> tuple[Rule, ...]:
        # Decay would draw the magnitudes to 0, away from those of the pretrained weights.
        return (*super().rules(), Rule("*.lora_magnitude_vector.*", weight_decay=0.0))

    @classmethod
    def default_learning_rate(cls, model: ModelMap) -> float:
        """2/3 of LoRA's, as in the paper (2e-4 where LoRA had 3e-4): the magnitudes move all of a layer's output."""
        return super().default_learning_rate(model) * 2 / 3
