"""The `objective` section of a recipe."""

from __future__ import annotations

from typing import Literal

from pydantic import Field

from tunewise.config.base import Config


class ObjectiveConfig(Config):
    label_smoothing: float = Field(default=0.0, ge=0, lt=1)
    """Share of the target's probability spread over all classes (classification and entities)."""

    class_weights: Literal["balanced"] | dict[str, float] | None = None
    """Weight of each class in the loss: `balanced` (n / (C n_c)), or a number per class name."""

    standardize: bool = True
    """Regression: train on targets with mean 0 and variance 1, and fold the scale back into the output layer, so that
    the learning rate does not depend on the unit of the target."""
