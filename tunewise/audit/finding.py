"""What an audit finds, as plain data: printed, written as JSON, and shown on a page."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass, field
from typing import Any

from tunewise.audit.settings import Kind

EXAMPLES = 5
"""Rows of a finding that are shown; all of them stand in its `rows`."""


class CannotLook(Exception):
    """Raised by a check that is not for this data: why, so that "which ..." reads as a sentence."""


@dataclass(frozen=True)
class Example:
    """A row that shows a finding: its number in its source (from 1), its text, shortened, and what is to be seen."""

    row: int
    text: str
    note: str = ""


@dataclass(frozen=True)
class Finding:
    """One thing found in one split.

    Attributes:
        kind: what was looked for.
        split: where it was found: `train`, `validation`, or a test set.
        rows: numbers of the rows in the split's source, from 1, ascending; empty where it is of the split as a whole.
        of: how many rows were looked at.
        what: one sentence with the counts.
        fix: what to do about it.
        examples: some of the rows.
        details: further figures, as JSON has them.
    """

    kind: Kind
    split: str
    rows: tuple[int, ...]
    of: int
    what: str
    fix: str = ""
    examples: tuple[Example, ...] = ()
    details: Mapping[str, Any] = field(default_factory=dict)

    @property
    def count(self) -> int:
        return len(self.rows)

    def told(self) -> dict[str, Any]:
        """What a record keeps of it: what was found, in how many rows, and what to do; no row and no text."""
        return {"kind": self.kind, "split": self.split, "rows": self.count, "what": self.what, "fix": self.fix}
