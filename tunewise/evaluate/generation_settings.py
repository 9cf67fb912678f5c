"""How a language model writes: options of a recipe's `evaluate.generation`, and of whoever else lets one write."""

from __future__ import annotations

from typing import Any, Self

from pydantic import Field, model_validator

from tunewise.config.base import Config

USUAL_LONGEST = 128


class GenerationConfig(Config):
    max_new_tokens: int | None = Field(default=None, ge=1, le=100_000)
    """The model stops after so many tokens, where it has not ended the text before. Where left out: 128; after grpo,
    rloo and ppo, as many as its answers had in training."""

    temperature: float | None = Field(default=None, gt=0)
    """Draw each token from the model's probabilities, sharpened (below 1) or flattened (above 1). Where left out:
    greedy, always the likeliest token."""

    top_k: int | None = Field(default=None, ge=1)
    """With a temperature: draw among the k likeliest tokens."""

    top_p: float | None = Field(default=None, gt=0, le=1)
    """With a temperature: draw among the fewest tokens that together have at least this probability."""

    beams: int = Field(default=1, ge=1, le=64)
    """Beam search with so many beams: the likeliest text that it finds, instead of the likeliest token each time."""

    repetition_penalty: float = Field(default=1.0, gt=0)
    """Above 1: tokens that were read or written before become less likely (CTRL, Keskar et al. 2019)."""

    stop: list[str] = Field(default_factory=list)
    """A text ends before the first of these strings."""

    rows: int = Field(default=100, ge=1)
    """So many rows of each test set are continued, the same ones in every run: metrics of texts are of these."""

    seed: int = Field(default=0, ge=0)
    """Decides which rows are continued, and what is drawn."""

    @property
    def longest(self) -> int:
        """Tokens of a text at most."""
        return USUAL_LONGEST if self.max_new_tokens is None else self.max_new_tokens

    def as_dict(self) -> dict[str, Any]:
        """Plain data for a record, with the length that holds."""
        return {**self.model_dump(mode="json"), "max_new_tokens": self.longest}

    @model_validator(mode="after")
    def _go_together(self) -> Self:
        if self.temperature is None and (self.top_k is not None or self.top_p is not None):
            raise ValueError("`top_k` and `top_p` say among which tokens to draw: give a `temperature` with them")
        if self.temperature is not None and self.beams > 1:
            raise ValueError("beam search draws nothing: give `temperature` or `beams`, not both")
        if any(not text for text in self.stop):
            raise ValueError("an empty string in `stop` would end every text at once")
        return self
