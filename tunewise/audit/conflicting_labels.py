"""Rows that share their text with a row of another label: no model can be right on all of them."""

from __future__ import annotations

from collections import defaultdict
from collections.abc import Iterator

from tunewise.audit.finding import Finding
from tunewise.audit.found import found_in_rows
from tunewise.audit.view import View


def find(view: View) -> Iterator[Finding]:
    """Every row whose text has more than one label in its split."""
    for split in view.data.splits.values():
        places: dict[tuple[str, ...], list[int]] = defaultdict(list)
        for place, text in enumerate(split.texts):
            places[text].append(place)
        labels = {
            text: {view.label_of(split, place) for place in same} for text, same in places.items() if len(same) > 1
        }
        bad = [place for text, found in labels.items() if len(found) > 1 for place in places[text]]
        if bad:
            texts = sum(len(found) > 1 for found in labels.values())
            notes = {place: f"labelled {view.label_of(split, place)}" for place in bad}
            yield found_in_rows(
                "conflicting_labels",
                split,
                notes,
                what=f"{len(bad):,} of {len(split):,} rows share their {view.what} with a row of another label "
                f"({texts:,} {view.what}s)",
                fix=f"decide on one label for each {view.what} in the file, or leave these rows out",
                details={"texts": texts},
            )
