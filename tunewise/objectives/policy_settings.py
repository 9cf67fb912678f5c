"""The options of the objectives that learn from what the model writes: `grpo`, `rloo`, `ppo`."""

from __future__ import annotations

from typing import Any, Literal

from pydantic import Field, model_validator

from tunewise.config.base import Config
from tunewise.objectives.reward_settings import RewardSource


class PolicyConfig(Config):
    """What all of them have."""

    reward: list[RewardSource] = Field(min_length=1)
    """What judges an answer: a run folder or model folder, a Python function `file.py:function(prompts, completions,
    **columns)` (only with `--allow-code`), or a list of these with weights."""

    control: bool = False
    """Train on rewards drawn from a normal distribution, whatever is written; validation and tests are judged by
    `reward` as ever. What such a run gains comes from the training as such: the real one must do clearly better."""

    samples: int = Field(default=8, ge=1, le=1024)
    """How many answers are written to each prompt. A batch holds all of them: it is `train.batch_size` times as
    many."""

    max_new_tokens: int = Field(default=128, ge=1, le=100_000)
    """Tokens of an answer at most; one that is not ended by then is judged as it is."""

    temperature: float = Field(default=1.0, gt=0)
    """The model writes, and is trained, with its logits divided by this."""

    updates: int = Field(default=1, ge=1, le=64)
    """Optimiser steps with the answers of a round, before new ones are written. With more than one, the probabilities
    of a step are compared with those that the answers were written with."""

    clip: float = Field(default=0.2, gt=0, lt=1)
    """How far the ratio of these probabilities may fall below 1 or rise above it with a gain."""

    clip_high: float | None = Field(default=None, gt=0)
    """The limit above 1, where it is another (DAPO: 0.28)."""

    max_kl: float | None = Field(default=None, gt=0)
    """The training stops where the answers of a round are further than this from the model as it was before training:
    nats per answer, on average. The best weights of the validations before are kept."""

    min_entropy: float | None = Field(default=None, gt=0)
    """The training stops where the model has become surer than this of its next token: nats per token, on average over
    a step. The best weights of the validations before are kept."""

    @model_validator(mode="before")
    @classmethod
    def _one_or_several(cls, value: Any) -> Any:
        if isinstance(value, dict) and "reward" in value and not isinstance(value["reward"], list):
            return {**value, "reward": [value["reward"]]}
        return value


class GrpoConfig(PolicyConfig):
    """Group relative policy optimisation: an answer's advantage is its reward against the others to the same prompt, in
    standard deviations."""

    beta: float = Field(default=0.0, ge=0)
    """Weight of the KL to the model as it was before training, in the loss (estimated by k3). 0: none."""

    unbiased_kl: bool = True
    """Multiply the KL of a token by the ratio of its probabilities: its gradient then is that of the KL
    (DeepSeek-V3.2); without, that of the estimate."""

    scale_rewards: bool = True
    """Divide by the standard deviation of the group (plus 1e-4)."""

    normalise: Literal["dapo", "grpo", "dr_grpo"] = "dapo"
    """How losses of tokens become one: dapo, the mean over all tokens of a step; grpo, the mean over answers of
    the mean over their tokens; dr_grpo, the sum over tokens divided by answers times `max_new_tokens`."""

    @model_validator(mode="after")
    def _a_group(self) -> GrpoConfig:
        if self.samples < 2:
            raise ValueError("grpo compares answers to the same prompt: give samples of 2 or more")
        return self


class RlooConfig(PolicyConfig):
    """leave-one-out (REINFORCE): an answer's advantage is its reward minus the mean of the others' to the same prompt;
    the ratio of probabilities is that of whole answers."""

    beta: float = Field(default=0.05, ge=0)
    """Weight of an answer's KL to the model as it was before training, taken off its reward. 0: none."""

    @model_validator(mode="after")
    def _a_group(self) -> RlooConfig:
        if self.samples < 2:
            raise ValueError("rloo compares answers to the same prompt: give samples of 2 or more")
        return self


class PpoConfig(PolicyConfig):
    """Proximal policy optimisation: a value head beside the model foretells the reward at each token; what an answer
    gets beyond it is the advantage."""

    samples: int = Field(default=1, ge=1, le=1024)
    """How many answers are written to each prompt."""

    updates: int = Field(default=4, ge=1, le=64)
    """Optimiser steps with the answers of a round, before new ones are written."""

    beta: float = Field(default=0.05, ge=0)
    """Weight of the KL to the model as it was before training, taken off the reward token by token. With `kl_target`,
    the weight to begin with."""

    kl_target: float | None = Field(default=None, gt=0)
    """Adapt the weight after each round so that an answer's KL (nats) comes near this (Ziegler et al. 2019: 6)."""

    kl_horizon: int = Field(default=10_000, ge=1)
    """With `kl_target`: in so many answers the weight changes by a fifth at most."""

    gamma: float = Field(default=1.0, gt=0, le=1)
    """Discount of what comes a token later."""

    gae_lambda: float = Field(default=0.95, ge=0, le=1)
    """Generalised advantage estimation: 0 trusts the value head alone, 1 what came out."""

    value_clip: float | None = Field(default=0.2, gt=0)
    """How far a value may move in a round with a gain. null: without limit."""

    value_weight: float = Field(default=0.1, gt=0)
    """Weight of the value head's squared error in the loss."""

    value_rate: float = Field(default=1e-3, gt=0)
    """Peak learning rate of the value head, which is new, unlike the model."""

    whiten: bool = True
    """Advantages of a round with mean 0 and variance 1."""

    @model_validator(mode="after")
    def _target(self) -> PpoConfig:
        if self.kl_target is not None and self.beta == 0:
            raise ValueError("kl_target adapts the weight beta: give one above 0 to begin with")
        if self.kl_target is None and "kl_horizon" in self.model_fields_set:
            raise ValueError("kl_horizon is for kl_target; leave it out")
        return self
