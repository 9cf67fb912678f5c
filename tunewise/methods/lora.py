"""LoRA: low-rank updates beside frozen linear layers."""

from __future__ import annotations

from typing import Any

from pydantic import Field

from tunewise.methods.peft_layers import MergeConfig, PeftLayers, TargetsConfig
from tunewise.types import ModelMap, Rule


class UpdateConfig(TargetsConfig):
    """Options of low-rank updates that may stay unmerged."""

    rank: int = Field(default=16, ge=1)
    """Rank r of the update."""

    alpha: float = Field(default=32.0, gt=0)
    """Scale: the update is multiplied by alpha / r (by alpha / sqrt(r) from rank 64 on: rsLoRA)."""

    dropout: float = Field(default=0.0, ge=0, lt=1)
    """Dropout on the input of the update."""


class LoraConfig(MergeConfig, UpdateConfig):
    pass


class Lora(PeftLayers):
    """y = W x + (alpha / r) B A x, with A (r x in) random, B (out x r) zero at the start, W frozen; the head trains. At
    a convolution, A has its kernel and r channels, B a kernel of 1."""

    name = "lora"
    group = "low-rank and multiplicative"
    trains = "low-rank updates of linear layers, and the output layers"
    source = "Hu et al. 2022, LoRA; Schulman et al. 2025, LoRA Without Regret (all layers, 10x the rate)"
    convolutions = True
    stacks = True
    Config = LoraConfig

    def options(self, model: ModelMap) -> dict[str, Any]:
        return {
            "r": self.config.rank,
            "lora_alpha": self.config.alpha,
            "lora_dropout": self.config.dropout,
            "use_rslora": self.config.rank >= 64,
        }

    def rules(self) -> tuple[Rule, ...]:
        return (Rule("*.lora_?.*"),)

    @classmethod
    def default_learning_rate(cls, model: ModelMap) -> float:
        """5e-4 (768 / width), at most 2e-3: 10x that of full fine-tuning at a width of 768 (LoRA Without Regret), 5x at
        384. There 2e-3 was better on 700 rows, but on sms-spam it fell back to one class; 1e-3 holds on both."""
        return min(2e-3, 5e-4 * 768 / model.width)
