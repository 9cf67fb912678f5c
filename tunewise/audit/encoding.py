"""Texts that were decoded wrongly on their way: mojibake, HTML entities, replacement and control characters."""

from __future__ import annotations

import html.entities
import re
from collections.abc import Iterator

from tunewise.audit.finding import Finding
from tunewise.audit.found import found_in_rows, told_by_kind
from tunewise.audit.view import View

MOJIBAKE, ENTITY, REPLACED, CONTROL = "mojibake", "HTML entities", "replacement characters", "control characters"

_ENTITY = re.compile(r"&(?:#\d{1,7}|#[xX][0-9a-fA-F]{1,6}|[A-Za-z][A-Za-z0-9]{1,31});")
# Of the second block (U+0080 to U+009F), those that stand for a letter of Windows-1252 are mojibake.
_CONTROL = re.compile("[\x00-\x08\x0b\x0c\x0e-\x1f\x7f\x81\x8d\x8f\x90\x9d]")


def find(view: View) -> Iterator[Finding]:
    """One finding for each split, with how many rows have each kind of damage (some have several)."""
    for split in view.data.splits.values():
        damaged: dict[int, tuple[str, ...]] = {}
        for place, text in view.each_row(split):
            if kinds := tuple(dict.fromkeys(kind for part in text for kind in damage(part))):
                damaged[place] = kinds
        if damaged:
            counts, told = told_by_kind(damaged)
            yield found_in_rows(
                "encoding",
                split,
                {place: ", ".join(kinds) for place, kinds in damaged.items()},
                what=f"{len(damaged):,} of {len(split):,} rows were decoded wrongly on their way: {told}",
                fix="read the file in its own encoding (data.encoding), or repair them by "
                "`data: {clean: {html_entities: true, fix_encoding: true, normalise: true}}`; U+FFFD cannot be undone",
                details=counts,
            )


def damage(text: str) -> Iterator[str]:
    """The kinds of damage of a text: mojibake is what ftfy would decode anew (`fix_encoding`), an entity what HTML
    knows by its name or number; line breaks and tabs are no control characters."""
    if not text.isascii():
        from ftfy import fix_encoding
        from ftfy.badness import is_bad

        # The first thing that fix_encoding looks at, without what it prepares for the rest.
        if is_bad(text) and fix_encoding(text) != text:
            yield MOJIBAKE
        if "\ufffd" in text:
            yield REPLACED
    if "&" in text and any(map(_is_entity, _ENTITY.findall(text))):
        yield ENTITY
    if _CONTROL.search(text):
        yield CONTROL


def _is_entity(found: str) -> bool:
    # `html.unescape` reads the beginning of a name too: `&nothing;` as `&not` and `hing;`.
    return found[1] == "#" or found[1:] in html.entities.html5
