"""The `check` section of a recipe: what to look for in the data, and what to stop at."""

from __future__ import annotations

from typing import Literal

from pydantic import Field

from tunewise.cleaning.personal_data import KINDS, PersonalKind
from tunewise.config.base import Config

Kind = Literal["duplicates", "leakage", "conflicting_labels", "label_errors", "personal_data"]
"""What can be looked for; each has a file of that name in this room."""


class CheckConfig(Config):
    block: list[Kind] = Field(default_factory=list)
    """What stops `tunewise check` (exit code 1) and every training: `[leakage, personal_data]` stops where a row is
    found in train and test, or a text holds personal data. All else is told, and work goes on."""

    skip: list[Kind] = Field(default_factory=list)
    """What `tunewise check` does not look for."""

    personal_data: list[PersonalKind] = Field(default=list(KINDS), min_length=1)
    """The kinds of personal data to look for; all where left out."""

    names: str | None = None
    """An installed model of spaCy, such as en_core_web_sm: by it, personal data are names of persons and places too."""
