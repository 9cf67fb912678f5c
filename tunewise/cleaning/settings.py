"""The `data.clean` section of a recipe: each step is off unless it is switched on."""

from __future__ import annotations

from collections.abc import Callable

from tunewise.cleaning.label_list import LabelListConfig
from tunewise.cleaning.personal_settings import PersonalDataConfig
from tunewise.config.base import Config


class CleanConfig(Config):
    """Steps run in the order in which they stand here."""

    personal_data: PersonalDataConfig | None = None
    """What to do with e-mail addresses, phone, card and account numbers, IP addresses and national ids in the texts of
    every split, and of files that are evaluated or predicted later: `replace`, `hash` or `drop`."""

    labels: LabelListConfig | None = None
    """Table of rows whose labels are likely wrong, as `tunewise check --suspects FILE` writes it and you have looked
    through it: what its column `action` says, drop or relabel, is done. `{file: FILE, do: relabel, at_most: 0.1}` does
    one thing with all rows of low quality."""

    def anchored(self, anchor: Callable[[str], str]) -> CleanConfig:
        """The same with absolute paths."""
        if self.labels is None:
            return self
        labels = self.labels.model_copy(update={"file": anchor(self.labels.file)})
        return self.model_copy(update={"labels": labels})
