"""Rows whose text and label stand in an earlier row of the same split."""

from __future__ import annotations

from collections.abc import Iterator

from tunewise.audit.finding import Finding
from tunewise.audit.found import found_in_rows
from tunewise.audit.view import View
from tunewise.cleaning.exact_duplicates import exact_duplicates


def find(view: View) -> Iterator[Finding]:
    """The rows after the first of each text and label."""
    for split in view.data.splits.values():
        what = "image" if view.what == "image" else "text"
        repeats = exact_duplicates(split.texts, view.labels_of(split))
        if repeats:
            notes = {place: f"as row {split.rows[earlier]}" for place, earlier in repeats.items()}
            yield found_in_rows(
                "duplicates",
                split,
                notes,
                what=f"{len(repeats):,} of {len(split):,} rows repeat {what} and label of an earlier row",
                fix="in train they count twice, in a test set they make intervals too narrow: "
                "`data: {clean: {duplicates: exact}}` leaves them out of train, before splits are cut off",
            )
