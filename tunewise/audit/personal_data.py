"""Personal data in the texts: how much of which kind, shown only behind stars."""

from __future__ import annotations

from collections import Counter, defaultdict
from collections.abc import Iterator, Sequence

from tunewise.audit.finding import EXAMPLES, CannotLook, Example, Finding
from tunewise.audit.found import found_in_rows
from tunewise.audit.view import View, row_numbers, shown
from tunewise.cleaning.personal_data import Found, by_stars, replaced
from tunewise.data.personal_data import personal_finder
from tunewise.errors import DataError
from tunewise.types import Split


def find(view: View) -> Iterator[Finding]:
    """A finding for each split that holds some, with counts by kind.

    Raises:
        CannotLook: what is needed is not installed.
    """
    try:
        finder = personal_finder(view.config.personal_data, view.config.names, "check")
    except DataError as problem:
        raise CannotLook(f"needs what is not installed: {problem.what}") from None
    for split in view.data.splits.values():
        held: dict[int, list[Sequence[Found]]] = {}
        for place, texts in view.each_row(split):
            found = [finder(text) for text in texts]
            if any(found):
                held[place] = found
        if held:
            yield _finding(split, held)


def _finding(split: Split, held: dict[int, list[Sequence[Found]]]) -> Finding:
    counts: Counter[str] = Counter()
    rows: dict[str, list[int]] = defaultdict(list)
    for place, found in held.items():
        kinds = Counter(one.kind for part in found for one in part)
        counts += kinds
        for kind in kinds:
            rows[kind].append(place)
    notes = {
        place: ", ".join(dict.fromkeys(one.kind for part in found for one in part)) for place, found in held.items()
    }
    told = ", ".join(f"{kind} {count:,}" for kind, count in counts.most_common())
    return found_in_rows(
        "personal_data",
        split,
        notes,
        what=f"{len(held):,} of {len(split):,} rows hold personal data: {told}",
        fix="a model can give away what it was trained on: `data: {clean: {personal_data: replace}}` takes it out",
        examples=tuple(_example(split, place, held[place], notes[place]) for place in _shown(rows)),
        details={"counts": dict(counts), "rows_by_kind": {kind: row_numbers(split, at) for kind, at in rows.items()}},
    )


def _shown(rows: dict[str, list[int]]) -> list[int]:
    """Rows with each kind in turn."""
    deepest = max(map(len, rows.values()))
    in_turn = [at[depth] for depth in range(min(deepest, EXAMPLES)) for at in rows.values() if depth < len(at)]
    return list(dict.fromkeys(in_turn))[:EXAMPLES]


def _example(split: Split, place: int, found: list[Sequence[Found]], note: str) -> Example:
    texts = [replaced(text, held, by_stars) for text, held in zip(split.texts[place], found, strict=True)]
    return Example(int(split.rows[place]), shown(texts), note)
