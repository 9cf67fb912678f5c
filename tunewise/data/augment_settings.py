"""The `augment` section of a recipe."""

from __future__ import annotations

from typing import Any

from pydantic import Field, ValidationInfo, field_validator, model_validator

from tunewise.config.base import Config
from tunewise.data.picture_augment_settings import ColourConfig, RandAugmentConfig

WORDS = ("synonyms", "word_swap", "word_dropout")
PICTURES = ("crop", "flip", "colour", "rand_augment")
SWITCHED_ON: dict[str, Any] = {"crop": 0.5, "flip": 0.5, "colour": {}, "rand_augment": {}, "cutmix": 1.0}
"""What `true` stands for."""


class AugmentConfig(Config):
    word_dropout: float = Field(default=0.0, ge=0, lt=1)
    """Leave each word of a training text out with this probability (random deletion of EDA), never all of a text. Of
    entities, the tag goes with its word."""

    word_swap: float = Field(default=0.0, ge=0, le=1)
    """Swap a word of a training text with the next one with this probability; none is moved by more than one place. Of
    entities, only words outside of them."""

    synonyms: float = Field(default=0.0, ge=0, le=0.5)
    """Replace each word of a training text with this probability by what a masked language model puts into its place
    (contextual augmentation). Of entities, only words outside of them."""

    synonym_model: str | None = None
    """The masked language model of `synonyms`: a folder, or an id on the hub. Where left out: the recipe's own, if its
    files hold the layers that predict words."""

    synonym_top_k: int = Field(default=10, ge=1, le=100)
    """From how many of the most probable words `synonyms` draws, in proportion to their probabilities."""

    share: float = Field(default=0.5, gt=0, le=1)
    """Share of the training rows whose words are changed in an epoch, drawn anew in each; the others are read as they
    are."""

    mixup: float = Field(default=0.0, ge=0)
    """Mix two rows, L to 1 - L, where the loss is the same mixture of that for both targets: of texts the sentence
    vectors of two rows of a batch, of images the pixels of two rows of a step. L is drawn from Beta(mixup, mixup) for
    each batch, of images for each step. 0: no mixup; 0.2 is usual. Not for entities."""

    crop: float = Field(default=0.0, ge=0, le=1)
    """For images. Cut a part out of each training image, of this share of its area at least, 3:4 to 4:3, and resize it
    to what the model reads (random resized crop). true: 0.5; 0.08 is usual for training from scratch. 0: no."""

    flip: float = Field(default=0.0, ge=0, le=1)
    """For images. Mirror each training image, left to right, with this probability. true: 0.5."""

    colour: ColourConfig | None = None
    """For images. Change brightness, contrast, saturation and hue of each training image. true: with the defaults
    below."""

    rand_augment: RandAugmentConfig | None = None
    """For images. Put each training image through operations drawn from 14 (RandAugment): nothing, contrast stretched,
    histogram levelled, rotated, solarised, posterised, changed in colour, contrast, brightness or sharpness, sheared or
    moved in either direction. true: with the defaults below."""

    cutmix: float = Field(default=0.0, ge=0)
    """For images. Put a rectangle of another training image of the step into each, where the loss is that for both
    targets by their shares of the area; the share is drawn from Beta(cutmix, cutmix) for each step. true: 1. With mixup
    too, each step has one of the two, drawn."""

    @property
    def changes_words(self) -> bool:
        """Whether the model reads other texts than those of the data."""
        return any(getattr(self, name) for name in WORDS)

    @property
    def changes_pixels(self) -> bool:
        """Whether the model reads other images than those of the data, each changed by itself."""
        return any(getattr(self, name) for name in PICTURES)

    @property
    def told(self) -> str:
        """What changes rows by themselves, as the recipe says it."""
        return self.told_of(*WORDS, *PICTURES)

    def told_of(self, *names: str) -> str:
        """Those of these options that are on, as the recipe says them."""
        return ", ".join(_told(name, getattr(self, name)) for name in names if getattr(self, name))

    @field_validator(*SWITCHED_ON, mode="before")
    @classmethod
    def _true_is_the_usual(cls, value: Any, info: ValidationInfo) -> Any:
        """`true` is the usual value, `false` the default."""
        if isinstance(value, bool):
            return SWITCHED_ON[info.field_name] if value else cls.model_fields[info.field_name].default
        return value

    @model_validator(mode="after")
    def _used(self) -> AugmentConfig:
        if self.changed("share") and not self.changes_words:
            raise ValueError("share is of rows whose words are changed: give word_dropout, word_swap or synonyms too")
        if self.changed("synonym_model", "synonym_top_k") and not self.synonyms:
            raise ValueError("synonym_model and synonym_top_k are for synonyms: give synonyms too, or leave them out")
        return self


def _told(name: str, value: Any) -> str:
    """`flip 0.5`, `rand_augment (operations 2, magnitude 9)`."""
    if isinstance(value, Config):
        return f"{name} ({', '.join(f'{key} {number:g}' for key, number in value.model_dump().items() if number)})"
    return f"{name} {value:g}"
