"""The `data.clean` section of a recipe: each step is off unless it is switched on."""

from __future__ import annotations

from collections.abc import Callable
from typing import Literal

from pydantic import Field

from tunewise.cleaning.label_list import LabelListConfig
from tunewise.cleaning.personal_settings import PersonalDataConfig
from tunewise.config.base import Config

NEAR = 0.7
"""Similarity from which on texts are nearly equal."""

LEAST = 0.5
"""The least such similarity: texts that are less alike are found too rarely."""


class CleanConfig(Config):
    """Steps run in the order in which they stand here."""

    html_entities: bool = False
    """Decode HTML entities that end in a semicolon (`&amp;`, `&#39;`), again and again until none is left. Not for
    texts that are about HTML."""

    fix_encoding: bool = False
    """Set texts right that were decoded in the wrong encoding (mojibake: `cafÃ©` becomes `café`), by ftfy. Quotes,
    ligatures and wide letters stay as they are; U+FFFD cannot be undone, and stays too. Needs tunewise[check]."""

    normalise: bool = False
    """One way to write the same text: Unicode NFC; line ends as `\\n`; control characters, soft hyphens and characters
    of no width out (joiners stay between letters that are not ASCII, as in emoji and Persian); each run of spaces, tabs
    and no-break spaces one space, none beside a line end; nothing blank at either end. Case and punctuation stay."""

    fold_labels: bool = False
    """Class names that differ only by case or space, or as 1 and 1.0 do, are one class: the spelling in `data.labels`,
    else the one that most training rows have (at a tie, the first by letter). Not for entities, or several label
    columns."""

    personal_data: PersonalDataConfig | None = None
    """What to do with e-mail addresses, phone, card and account numbers, IP addresses and national ids in the texts of
    every split, and of files that are evaluated or predicted later: `replace`, `hash` or `drop`."""

    labels: LabelListConfig | None = None
    """Table of rows whose labels are likely wrong, as `tunewise check --suspects FILE` writes it and you have looked
    through it: what its column `action` says, drop or relabel, is done. `{file: FILE, do: relabel, at_most: 0.1}` does
    one thing with all rows of low quality."""

    duplicates: Literal["exact", "near"] | None = None
    """Leaves out training rows whose label and text an earlier one has: the same text (exact), or one that is nearly
    the same (near; see `near`). Before splits are cut off, so that no repeated row is in two of them; validation and
    test rows of their own sources stay as they are."""

    near: float = Field(default=NEAR, ge=LEAST, le=1)
    """From which similarity on `duplicates: near` and `data.overlap_near` take texts as nearly equal: the Jaccard
    similarity of their runs of three characters, without case and punctuation; of pairs, that of both parts."""

    def anchored(self, anchor: Callable[[str], str]) -> CleanConfig:
        """The same with absolute paths."""
        if self.labels is None:
            return self
        labels = self.labels.model_copy(update={"file": anchor(self.labels.file)})
        return self.model_copy(update={"labels": labels})
