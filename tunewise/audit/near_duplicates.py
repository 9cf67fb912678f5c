"""Rows whose label and, nearly, whose text stand in an earlier row of the same split."""

from __future__ import annotations

from collections.abc import Iterator

from tunewise.audit.finding import Finding
from tunewise.audit.found import found_in_rows
from tunewise.audit.view import View, shown
from tunewise.cleaning.exact_duplicates import exact_duplicates
from tunewise.cleaning.near_duplicates import near_duplicates


def find(view: View) -> Iterator[Finding]:
    """The rows that `data.clean.duplicates: near` would leave out beyond the exact repeats."""
    for split in view.data.splits.values():
        labels = view.labels_of(split)
        near = near_duplicates(split.texts, view.config.near, labels, view.within(split))
        exact = exact_duplicates(split.texts, labels)
        found = {place: earlier for place, earlier in near.items() if place not in exact}
        if found:
            notes = {
                place: f"nearly row {split.rows[earlier]}: {shown(split.texts[earlier])}"
                for place, earlier in found.items()
            }
            yield found_in_rows(
                "near_duplicates",
                split,
                notes,
                what=f"{len(found):,} of {len(split):,} rows have the label of an earlier row and nearly its text "
                f"(similarity of at least {view.config.near:g}; exact repeats are not counted)",
                fix="`data: {clean: {duplicates: near}}` leaves them out of train, before splits are cut off",
                details={"texts": len(set(found.values())), "similarity": view.config.near},
            )
