"""Sections of `augment` in a recipe for images."""

from __future__ import annotations

from pydantic import Field, model_validator

from tunewise.config.base import Config

MOST_MAGNITUDE = 30


class ColourConfig(Config):
    """How far brightness, contrast, saturation and hue go."""

    brightness: float = Field(default=0.2, ge=0, le=1)
    """Multiply the brightness of each training image by a factor from 1 - brightness to 1 + brightness."""

    contrast: float = Field(default=0.2, ge=0, le=1)
    """The same of its contrast: its difference to its mean grey."""

    saturation: float = Field(default=0.2, ge=0, le=1)
    """The same of its saturation: its difference to itself in grey."""

    hue: float = Field(default=0.0, ge=0, le=0.5)
    """Turn the hue of each training image by -hue to hue of the colour circle. 0: no."""

    @model_validator(mode="after")
    def _changes_something(self) -> ColourConfig:
        if not any((self.brightness, self.contrast, self.saturation, self.hue)):
            raise ValueError("all four are 0, which changes nothing: leave colour out, or set one of them")
        return self


class RandAugmentConfig(Config):
    """How many operations, and how strong."""

    operations: int = Field(default=2, ge=1, le=8)
    """How many of the 14 operations each training image goes through, drawn anew in each epoch; one may come twice."""

    magnitude: int = Field(default=9, ge=1, le=MOST_MAGNITUDE)
    """How strong they are, of 30."""
