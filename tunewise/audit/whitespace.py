"""Spaces that say nothing: before and after a text, several in a row, and characters that have no width."""

from __future__ import annotations

import re
from collections.abc import Iterator

from tunewise.audit.finding import Finding
from tunewise.audit.found import found_in_rows, told_by_kind
from tunewise.audit.view import View

# Joiners (U+200C, U+200D) have no width either, but scripts and emoji need them.
ZERO_WIDTH = "\u200b\u2060\ufeff\u180e\u00ad"

_DOUBLE = re.compile(r"[^\S\r\n]{2,}")
_NO_WIDTH = re.compile(f"[{ZERO_WIDTH}]")


def find(view: View) -> Iterator[Finding]:
    """One finding for each split, with how many rows have each kind (some have several)."""
    for split in view.data.splits.values():
        kinds = {
            place: found
            for place, text in enumerate(split.texts)
            if (found := tuple(dict.fromkeys(kind for part in text for kind in needless(part))))
        }
        if kinds:
            counts, told = told_by_kind(kinds)
            yield found_in_rows(
                "whitespace",
                split,
                {place: ", ".join(found) for place, found in kinds.items()},
                what=f"{len(kinds):,} of {len(split):,} rows have needless spaces: {told}",
                fix="most tokenisers read past spaces, but equal texts look different by them: "
                "`data: {clean: {normalise: true}}` takes them out",
                details=counts,
            )


def needless(text: str) -> Iterator[str]:
    """The kinds of needless space in a text."""
    if text != text.strip():
        yield "spaces at an end"
    if _DOUBLE.search(text.strip()):
        yield "several spaces in a row"
    if not text.isascii() and _NO_WIDTH.search(text):
        yield "characters without width"
