"""The `augment` section of a recipe."""

from __future__ import annotations

from pydantic import Field, model_validator

from tunewise.config.base import Config

WORDS = ("synonyms", "word_swap", "word_dropout")


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
    """Mix the sentence vectors of two rows of a batch, L to 1 - L, where the loss is the same mixture of that for both
    targets; L is drawn from Beta(mixup, mixup) for each batch. 0: no mixup. Not for entities."""

    @property
    def changes_words(self) -> bool:
        """Whether the model reads other texts than those of the data."""
        return any(getattr(self, name) for name in WORDS)

    @property
    def told(self) -> str:
        """What changes words, as the recipe says it."""
        return ", ".join(f"{name} {getattr(self, name):g}" for name in WORDS if getattr(self, name))

    @model_validator(mode="after")
    def _used(self) -> AugmentConfig:
        if self.changed("share") and not self.changes_words:
            raise ValueError("share is of rows whose words are changed: give word_dropout, word_swap or synonyms too")
        if self.changed("synonym_model", "synonym_top_k") and not self.synonyms:
            raise ValueError("synonym_model and synonym_top_k are for synonyms: give synonyms too, or leave them out")
        return self
