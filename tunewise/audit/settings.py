"""The `check` section of a recipe: what to look for in the data, and what to stop at."""

from __future__ import annotations

from typing import Literal

from pydantic import Field, model_validator

from tunewise.cleaning.personal_data import KINDS, PersonalKind
from tunewise.cleaning.settings import LEAST, NEAR
from tunewise.config.base import Config

Kind = Literal[
    "duplicates",
    "conflicting_labels",
    "leakage",
    "label_errors",
    "near_duplicates",
    "near_leakage",
    "encoding",
    "whitespace",
    "language",
    "outliers",
    "personal_data",
    "truncation",
    "giveaway",
    "imbalance",
    "coverage",
]
"""What can be looked for; each has a file of that name in this room."""


class CheckConfig(Config):
    block: list[Kind] = Field(default_factory=list)
    """What stops `tunewise check` (exit code 1) and every training: `[leakage, personal_data]` stops where a row is
    found in train and test, or a text holds personal data. All else is told, and work goes on."""

    skip: list[Kind] = Field(default_factory=list)
    """What `tunewise check` does not look for."""

    near: float = Field(default=NEAR, ge=LEAST, le=1)
    """From which similarity on two texts are nearly equal: the Jaccard similarity of their runs of three characters,
    without case and punctuation; of pairs, that of both parts."""

    language: str | None = Field(default=None, pattern="^[a-z]{2,3}$")
    """The language that texts should have (a code of ISO 639, such as `en`). Where left out: that of most training
    rows."""

    personal_data: list[PersonalKind] = Field(default=list(KINDS), min_length=1)
    """The kinds of personal data to look for; all where left out."""

    names: str | None = None
    """An installed model of spaCy, such as en_core_web_sm: by it, personal data are names of persons and places too."""

    @model_validator(mode="after")
    def _looked_for(self) -> CheckConfig:
        if both := [kind for kind in self.block if kind in self.skip]:
            raise ValueError(
                f"what stops the work has to be looked for: take {' and '.join(both)} out of block or skip"
            )
        return self
