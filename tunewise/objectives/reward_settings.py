"""Where rewards come from: an option of the objectives that learn from what the model writes."""

from __future__ import annotations

from typing import Any

from pydantic import Field, model_validator

from tunewise.config.base import Config


class RewardSource(Config):
    """One source of rewards. Short form: a text such as `file.py:function` is a function, any other a model."""

    model: str | None = None
    """A run folder of tunewise with a reward or regression model (its number is the reward), or with a classifier (see
    `wanted_class`); or a folder of a transformers sequence classifier."""

    wanted_class: str | None = None
    """With a classifier: the class whose log-odds, ln p - ln(1 - p), are the reward."""

    function: str | None = None
    """`file.py:function`, the file in the recipe's folder. It is called as `function(prompts, completions, **columns)`
    with lists of strings, the other columns of the data as lists beside them, and returns one number for each. Prompts
    that are conversations come as JSON, a list of messages; where tools may be called, an object with `messages` and
    `tools`. Runs only with `--allow-code`."""

    weight: float = Field(default=1.0, allow_inf_nan=False)
    """The reward is the sum over sources, each times its weight."""

    @model_validator(mode="before")
    @classmethod
    def _from_short_form(cls, value: Any) -> Any:
        if not isinstance(value, str):
            return value
        file, _, name = value.rpartition(":")
        return {"function": value} if file.endswith(".py") and name.isidentifier() else {"model": value}

    @model_validator(mode="after")
    def _one_kind(self) -> RewardSource:
        given = [name for name in ("model", "function") if getattr(self, name)]
        if len(given) != 1:
            raise ValueError("give each source of rewards either a model or a function")
        if self.wanted_class is not None and self.model is None:
            raise ValueError("wanted_class is for a model that classifies; leave it out")
        if self.weight == 0:
            raise ValueError("a weight of 0 leaves the source without effect; leave it out")
        return self

    @property
    def name(self) -> str:
        """As the log calls it."""
        return self.function or self.model
