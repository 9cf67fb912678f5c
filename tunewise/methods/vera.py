"""VeRA: one pair of frozen random matrices for all layers, scaled by small trained vectors."""

from __future__ import annotations

from typing import Any

from pydantic import Field

from tunewise.methods.peft_layers import MergeConfig, PeftLayers, TargetsConfig
from tunewise.types import ModelMap, Rule


class VeraConfig(MergeConfig, TargetsConfig):
    rank: int = Field(default=256, ge=1)
    """Rank r of the random matrices. A layer trains r + out numbers, so that it can be high."""

    initial: float = Field(default=0.1, gt=0)
    """First value of the vectors d."""

    head_rate: float = Field(default=0.05, gt=0)
    """Factor on the learning rate of the output layers: that of the vectors is too high for matrices. 0.05 gives them
    LoRA's."""

    dropout: float = Field(default=0.0, ge=0, lt=1)
    """Dropout on the input of the update."""

    projection_seed: int = Field(default=0, ge=0)
    """Decides the random matrices. It is apart from the run's seed, so that runs can share them."""

    save_projections: bool = True
    """Write the random matrices into the PEFT folder. Without them it is as small as the paper says, but relies on
    every version of torch drawing the same numbers from `projection_seed`."""


class Vera(PeftLayers):
    """y = W x + diag(b) B diag(d) A x, with A (r x in) and B (out x r) random, frozen, the same for all layers (each
    takes the part of its size); the vectors b (zero at the start) and d train."""

    name = "vera"
    group = "low-rank and multiplicative"
    trains = "two vectors per linear layer, and the output layers"
    source = "Kopiczko, Blankevoort, Asano 2024, VeRA: Vector-based Random Matrix Adaptation"
    peft_config = "VeraConfig"
    instead = "lora"
    Config = VeraConfig

    def options(self, model: ModelMap) -> dict[str, Any]:
        return {
            "r": self.config.rank,
            "d_initial": self.config.initial,
            "vera_dropout": self.config.dropout,
            "projection_prng_key": self.config.projection_seed,
            "save_projection": self.config.save_projections,
        }

    def rules(self) -> tuple[Rule, ...]:
        return (Rule("*.vera_lambda_?"),)

    @classmethod
    def default_learning_rate(cls, model: ModelMap) -> float:
        """1e-2 (768 / width), at most 2e-2: the paper took 4e-3 to 1e-2 for RoBERTa-base."""
        return min(2e-2, 1e-2 * 768 / model.width)
