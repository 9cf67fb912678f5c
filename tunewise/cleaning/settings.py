"""The `data.clean` section of a recipe: each step is off unless it is switched on."""

from __future__ import annotations

from tunewise.config.base import Config


class CleanConfig(Config):
    """Steps run in the order in which they stand here."""
