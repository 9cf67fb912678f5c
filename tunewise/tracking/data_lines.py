"""What was done to the data, and what is doubtful about it, in lines for the terminal."""

from __future__ import annotations

from collections.abc import Sequence
from typing import TYPE_CHECKING

from tunewise.tracking.progress import plain_text
from tunewise.types import DataStep

if TYPE_CHECKING:
    from tunewise.audit.finding import Finding

USUAL = ("read", "images", "schema")
"""Steps of every run; all others left something out, changed something, or make results doubtful."""


def data_lines(steps: Sequence[DataStep]) -> list[str]:
    """A line for each step that a user should know of before work goes on."""
    return [f"data: {plain_text(step.name)}: {plain_text(step.reason)}" for step in steps if step.name not in USUAL]


def finding_lines(findings: Sequence[Finding]) -> list[str]:
    """A line for each thing that was found in the data before training."""
    return [plain_text(f"data: {finding.kind} in {finding.split}: {finding.what}") for finding in findings]
