"""The `data.clean` section of a recipe: each step is off unless it is switched on."""

from __future__ import annotations

from typing import Literal

from pydantic import Field

from tunewise.config.base import Config

NEAR = 0.7
"""Similarity from which on texts are nearly equal."""

LEAST = 0.5
"""The least such similarity: texts that are less alike are found too rarely."""


class CleanConfig(Config):
    """Steps run in the order in which they stand here."""

    duplicates: Literal["exact", "near"] | None = None
    """Leaves out training rows whose label and text an earlier one has: the same text (exact), or one that is nearly
    the same (near; see `near`). Before splits are cut off, so that no repeated row is in two of them; validation and
    test rows of their own sources stay as they are."""

    near: float = Field(default=NEAR, ge=LEAST, le=1)
    """From which similarity on `duplicates: near` and `data.overlap_near` take texts as nearly equal: the Jaccard
    similarity of their runs of three characters, without case and punctuation; of pairs, that of both parts."""
