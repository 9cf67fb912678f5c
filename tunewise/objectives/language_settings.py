"""The options of the objectives of language models, each chosen by its name: `objective: sft`, `objective: {dpo: {beta:
0.2}}`."""

from __future__ import annotations

from typing import Literal

from pydantic import Field, model_validator

from tunewise.config.base import Config


class SftConfig(Config):
    """Supervised fine-tuning: cross-entropy of the tokens to learn."""

    loss_on: Literal["responses", "all"] = "responses"
    """Which tokens are to be learnt: those of answers (of every turn of the assistant), or of prompts too. Plain text
    is learnt whole."""


class DpoConfig(Config):
    """Direct preference optimisation: pairs of a chosen and a rejected answer, and no reward model."""

    loss: Literal["sigmoid", "ipo", "hinge"] = "sigmoid"
    """What is made of the difference of both log-ratios: `sigmoid` (DPO), `ipo` (a squared distance from a fixed
    margin, of means over tokens: does not grow without end where one answer is always preferred), `hinge`."""

    beta: float = Field(default=0.1, gt=0)
    """How strongly the model is held to what it was before: the larger, the less it moves."""

    label_smoothing: float = Field(default=0.0, ge=0, lt=0.5)
    """Share of the pairs that are taken to be labelled the wrong way round (conservative DPO); for `sigmoid`."""

    @model_validator(mode="after")
    def _smoothing_of_sigmoid(self) -> DpoConfig:
        if self.label_smoothing and self.loss != "sigmoid":
            raise ValueError(f"label_smoothing is for loss: sigmoid, not {self.loss}; leave it out")
        return self


class RewardConfig(Config):
    """A reward model: a number for an answer, larger for the one that is preferred (Bradley-Terry)."""

    centering: float = Field(default=0.0, ge=0)
    """Weight of the squared sum of both rewards, which keeps rewards around 0; 0.01 is usual where it is used."""


class KtoConfig(Config):
    """Learning from answers that are each called good or bad, without pairs (Kahneman-Tversky optimisation)."""

    beta: float = Field(default=0.1, gt=0)
    """How strongly the model is held to what it was before: the larger, the less it moves."""

    desirable_weight: float = Field(default=1.0, gt=0)
    """Weight of the loss of good answers. The paper has desirable_weight x good rows between 1 and 4/3 times
    undesirable_weight x bad rows: set one of both where the data has many more rows of one kind."""

    undesirable_weight: float = Field(default=1.0, gt=0)
    """Weight of the loss of bad answers."""
