"""What a check has found, made into a finding: rows with a note for each, or a split as a whole."""

from __future__ import annotations

from collections import Counter
from collections.abc import Iterable, Mapping
from typing import Any

from tunewise.audit.finding import Example, Finding
from tunewise.audit.settings import Kind
from tunewise.audit.view import examples_of, row_numbers
from tunewise.types import Split


def found_in_rows(
    kind: Kind,
    split: Split,
    notes: Mapping[int, str],
    *,
    what: str,
    fix: str,
    details: Mapping[str, Any] | None = None,
    examples: tuple[Example, ...] | None = None,
) -> Finding:
    """A finding of rows.

    Args:
        notes: what is to be seen in each row (by its place in the split); the first few are shown.
        examples: what is shown instead.
    """
    return Finding(
        kind=kind,
        split=split.name,
        rows=row_numbers(split, notes),
        of=len(split),
        what=what,
        fix=fix,
        examples=examples_of(split, notes) if examples is None else examples,
        details=details or {},
    )


def found_in_split(kind: Kind, split: Split, *, what: str, fix: str, details: Mapping[str, Any]) -> Finding:
    """A finding of a split as a whole, which names no row."""
    return Finding(kind=kind, split=split.name, rows=(), of=len(split), what=what, fix=fix, details=details)


def told_by_kind(kinds: Mapping[int, Iterable[str]]) -> tuple[dict[str, int], str]:
    """How many rows have each kind of trouble, and that in words, the most frequent first.

    Args:
        kinds: of each row (by its place in the split).
    """
    counts = Counter(kind for found in kinds.values() for kind in found)
    return dict(counts), ", ".join(f"{kind} in {count:,}" for kind, count in counts.most_common())
