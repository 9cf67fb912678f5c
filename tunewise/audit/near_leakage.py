"""Rows of validation or a test set whose text is nearly one that the model has been trained, or chosen, on."""

from __future__ import annotations

from collections.abc import Iterator

from tunewise.audit.finding import Finding
from tunewise.audit.found import found_in_rows
from tunewise.audit.view import View, shown
from tunewise.data.near_overlap import find_near_overlaps


def find(view: View) -> Iterator[Finding]:
    """For each pair of splits, the rows of the later one; those whose text is exactly in the earlier one are told as
    leakage."""
    splits = view.data.splits
    texts = {name: split.texts for name, split in splits.items()}
    for overlap in find_near_overlaps(texts, view.config.near, view.progress):
        earlier, later = splits[overlap.earlier], splits[overlap.later]
        notes = {
            place: f"nearly row {earlier.rows[known]} of {overlap.earlier}: {shown(earlier.texts[known])}"
            for place, known in overlap.places.items()
        }
        yield found_in_rows(
            "near_leakage",
            later,
            notes,
            what=f"{len(notes):,} of {len(later):,} rows of {overlap.later} have a text that is nearly equal to one in "
            f"{overlap.earlier} (similarity of at least {view.config.near:g})",
            fix=f"scores on {overlap.later} look better than they will be on new texts: "
            f"`data: {{overlap: drop, overlap_near: true}}` leaves such texts out of {overlap.earlier}",
            details={"also_in": overlap.earlier, "similarity": view.config.near},
        )
