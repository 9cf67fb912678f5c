"""The `soups` section of a recipe."""

from __future__ import annotations

from typing import Any, Literal

from pydantic import Field, model_validator

from tunewise.config.base import Config

SoupKind = Literal["uniform", "greedy"]
SoupOf = Literal["methods", "seeds", "rates"]


class SoupConfig(Config):
    """Written as a list of kinds, or with what they are made of: `{kinds: [greedy], of: seeds}`."""

    kinds: list[SoupKind] = Field(default_factory=list)
    """`compare` adds soups: models whose weights are the mean of those of several runs. uniform: of all; greedy: from
    the best on validation down, each is added where the metric on validation does not fall. `soups: [uniform, greedy]`
    is short for this option alone."""

    of: SoupOf = "methods"
    """Which runs a soup is made of. methods: those of all methods that hand over a whole model, one soup for each seed.
    seeds: those of one method; give `train.head_seed`, so that all begin with the same output layer. rates: those with
    which `rate_grid` was tried, of one method."""

    @model_validator(mode="before")
    @classmethod
    def _from_short_form(cls, value: Any) -> Any:
        return {"kinds": value} if isinstance(value, list) else value

    @model_validator(mode="after")
    def _sound(self) -> SoupConfig:
        if len(set(self.kinds)) < len(self.kinds):
            raise ValueError("each kind may stand in the list only once")
        if not self.kinds and self.of != "methods":
            raise ValueError("`of` needs `kinds`: uniform, greedy or both")
        return self
