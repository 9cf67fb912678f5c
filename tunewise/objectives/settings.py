"""The `objective` section of a recipe."""

from __future__ import annotations

from collections.abc import Callable
from typing import Any, Literal

from pydantic import Field, model_validator

from tunewise.config.base import Config
from tunewise.objectives.denoising_settings import DenoisingConfig
from tunewise.objectives.language_settings import DpoConfig, KtoConfig, RewardConfig, SftConfig
from tunewise.objectives.policy_settings import GrpoConfig, PpoConfig, RlooConfig
from tunewise.objectives.reward_settings import RewardSource
from tunewise.types import Task

LANGUAGE_OBJECTIVES: dict[str, tuple[Task, ...]] = {
    "sft": ("generation",),
    "dpo": ("preference",),
    "reward": ("preference",),
    "kto": ("unpaired_preference",),
    "grpo": ("prompts",),
    "rloo": ("prompts",),
    "ppo": ("prompts",),
    "denoising": ("image_generation",),
}
"""The objectives of language models, and of models that draw images, by name, and the tasks whose rows they learn
from; the first objective of a task is its usual one."""


class ObjectiveConfig(Config):
    sft: SftConfig | None = None
    """Supervised fine-tuning of a language model, the usual one where rows are texts, prompts with answers or
    conversations. Options of objectives stand under their name: `objective: {sft: {loss_on: all}}`."""

    dpo: DpoConfig | None = None
    """Direct preference optimisation, the usual one where rows are a prompt with a chosen and a rejected answer."""

    reward: RewardConfig | None = None
    """A reward model, of such rows too."""

    kto: KtoConfig | None = None
    """Kahneman-Tversky optimisation, the usual one where rows are a prompt and an answer that is good or bad."""
    grpo: GrpoConfig | None = None
    """Group relative policy optimisation: the model writes answers to prompts and learns from what they are worth. Rows
    are prompts."""

    rloo: RlooConfig | None = None
    """REINFORCE leave-one-out, of such rows too."""

    ppo: PpoConfig | None = None
    """Proximal policy optimisation, of such rows too."""

    denoising: DenoisingConfig | None = None
    """What a diffusion model learns, where rows are images to draw the like of."""

    label_smoothing: float = Field(default=0.0, ge=0, lt=1)
    """Share of the target's probability spread over all classes (classification and entities)."""

    class_weights: Literal["balanced", "effective"] | dict[str, float] | None = None
    """Weight of each class in the loss: `balanced` (n / (C n_c)), `effective` (by the inverse of the effective number
    of its n_c rows, (1 - b) / (1 - b^n_c), with mean 1), or a number per class name."""

    effective_beta: float = Field(default=0.999, ge=0, lt=1)
    """The b of `class_weights: effective`: 0 gives equal weights, near 1 those of `balanced` but for a factor."""

    focal_gamma: float = Field(default=0.0, ge=0)
    """Focal loss, -(1 - p)^gamma log p for the probability p of what is right: the larger, the less counts what is
    already right with certainty. 0 is cross-entropy; 2 is usual. For classes, labels and entities."""

    r_drop: float = Field(default=0.0, ge=0)
    """R-Drop: each row goes through the model twice, with different dropout. The loss is the mean of both losses plus
    so many times the divergence between both predictions (KL, the mean of both directions). A step takes about twice
    the time and memory. 0: once. For classes, labels and entities."""

    standardize: bool = True
    """Regression: train on targets with mean 0 and variance 1, and fold the scale back into the output layer, so that
    the learning rate does not depend on the unit of the target."""

    @model_validator(mode="before")
    @classmethod
    def _from_short_form(cls, value: Any) -> Any:
        return {value: {}} if isinstance(value, str) else value

    @model_validator(mode="after")
    def _one_objective(self) -> ObjectiveConfig:
        if len(given := self.named) > 1:
            raise ValueError(f"give one objective, not {' and '.join(given)}")
        return self

    @property
    def rewards(self) -> list[RewardSource]:
        """What judges the answers of the objective that is given, where it has the model write some."""
        chosen = self.grpo or self.rloo or self.ppo
        return chosen.reward if chosen else []

    @property
    def max_new_tokens(self) -> int | None:
        """Tokens of an answer at most, where the objective has the model write some."""
        chosen = self.grpo or self.rloo or self.ppo
        return chosen.max_new_tokens if chosen else None

    def anchored(self, anchor: Callable[[str], str]) -> ObjectiveConfig:
        """The same with absolute paths of reward models."""
        update = {}
        for name in ("grpo", "rloo", "ppo"):
            if (options := getattr(self, name)) is not None:
                sources = [
                    source.model_copy(update={"model": source.model and anchor(source.model)})
                    for source in options.reward
                ]
                update[name] = options.model_copy(update={"reward": sources})
        return self.model_copy(update=update)

    @property
    def named(self) -> list[str]:
        """The objectives of language models that are given."""
        return [name for name in LANGUAGE_OBJECTIVES if getattr(self, name) is not None]

    @model_validator(mode="after")
    def _beta_of_effective(self) -> ObjectiveConfig:
        usual = type(self).model_fields["effective_beta"].default
        if self.effective_beta != usual and self.class_weights != "effective":
            raise ValueError("effective_beta is for class_weights: effective; leave it out")
        return self

    @model_validator(mode="after")
    def _focal_or_smooth(self) -> ObjectiveConfig:
        if self.focal_gamma and self.label_smoothing:
            raise ValueError("give either focal_gamma or label_smoothing, not both: focal loss knows one right class")
        return self
