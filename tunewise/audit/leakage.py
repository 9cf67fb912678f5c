"""Rows of validation or a test set whose text the model has been trained, or chosen, on."""

from __future__ import annotations

from collections.abc import Iterator

from tunewise.audit.finding import Finding
from tunewise.audit.found import found_in_rows
from tunewise.audit.view import View
from tunewise.data.overlap import CHOSEN_ON


def find(view: View) -> Iterator[Finding]:
    """Exactly the same text; for each pair of splits, the rows of the later one."""
    splits, what = view.data.splits, view.what
    one, rows = ("an image", "images") if what == "image" else (f"a {what}", "texts")
    for place, (name, split) in enumerate(splits.items()):
        for earlier in (other for other in list(splits)[:place] if other in CHOSEN_ON):
            texts = view.alike(split)
            known = {
                text: number for text, number in zip(view.alike(splits[earlier]), splits[earlier].rows, strict=True)
            }
            shared = [row for row, text in enumerate(texts) if text in known]
            if shared:
                notes = {row: f"row {known[texts[row]]} of {earlier}" for row in shared}
                yield found_in_rows(
                    "leakage",
                    split,
                    notes,
                    what=f"{len(shared):,} of {len(split):,} rows of {name} have {one} that is also in {earlier}",
                    fix=f"scores on {name} look better than they will be on new {rows}: `data: {{overlap: drop}}` "
                    f"leaves these {rows} out of {earlier}",
                    details={"also_in": earlier},
                )
