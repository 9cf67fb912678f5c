"""Rows of one split whose text or group is in a later split too: told, left out or refused, as `data.overlap` says."""

from __future__ import annotations

from collections.abc import Hashable, Iterator, Mapping, Sequence
from dataclasses import dataclass
from typing import Literal

from tunewise.data.clean import Rows
from tunewise.data.labels import count_names, sort_names
from tunewise.data.table import listed, row_list
from tunewise.errors import DataError
from tunewise.types import DataStep

CHOSEN_ON = ("train", "validation")
"""Splits that a model is made with: what they share with a later one makes that look better than it is."""

Kind = Literal["text", "group"]
_KINDS: tuple[Kind, ...] = ("text", "group")
_HAVE = {"group": "are of a group"}
_HAS = {"text": "has a text", "group": "is of a group"}


@dataclass(frozen=True)
class Overlap:
    """`places` are those rows of the split `later` (places in its Rows) whose text or group is in the split `earlier`
    too."""

    kind: Kind
    earlier: str
    later: str
    rows: Rows
    places: tuple[int, ...]

    def told(self) -> str:
        """Both splits, with counts and rows."""
        indices = [self.rows.indices[place] for place in self.places]
        return (
            f"{len(indices):,} of {len(self.rows):,} rows of {self.later} ({len(indices) / len(self.rows):.1%}) "
            f"{_have(self.rows, self.kind)} that is also in {self.earlier}: {self.rows.table.source}, "
            f"{row_list(indices)}"
        )


def _of(rows: Rows, kind: Kind) -> Sequence[Hashable]:
    """Texts or groups of rows; None where a row has no group, nothing where the recipe names no groups."""
    return rows.alike if kind == "text" else rows.groups


def _have(rows: Rows, kind: Kind) -> str:
    if kind == "text":
        return "have a prompt" if rows.prompts else f"have {'an image' if rows.of == 'image' else 'a text'}"
    return _HAVE[kind]


def _new(found: Overlap) -> str:
    return f"{found.rows.of if found.kind == 'text' else found.kind}s"


def find_overlaps(parts: Mapping[str, Rows]) -> Iterator[Overlap]:
    """Every pair of splits that share texts or groups: texts first, each in the order of the splits."""
    names = list(parts)
    for kind in _KINDS:
        held = {name: set(_of(parts[name], kind)) - {None} for name in CHOSEN_ON if name in parts}
        for place, later in enumerate(names):
            for earlier in (name for name in names[:place] if name in held):
                rows = parts[later]
                shared = tuple(place for place, item in enumerate(_of(rows, kind)) if item in held[earlier])
                if shared:
                    yield Overlap(kind, earlier, later, rows, shared)


def overlap_steps(parts: Mapping[str, Rows]) -> list[DataStep]:
    """A step for each pair of splits that share texts or groups."""
    return [
        DataStep(
            "overlap",
            len(found.rows),
            len(found.rows),
            f"{found.told()}. Scores on {found.later} are better than they will be on new {_new(found)}. Kept as they "
            "are",
        )
        for found in find_overlaps(parts)
    ]


def refuse_overlap(parts: Mapping[str, Rows]) -> None:
    """Raises where two splits share texts or groups.

    Raises:
        DataError: names every such pair, with counts and rows.
    """
    refuse_told([overlap.told() for overlap in find_overlaps(parts)])


def refuse_told(overlaps: Sequence[str]) -> None:
    """Raises where there are overlaps, each told in a sentence.

    Raises:
        DataError: with all of them.
    """
    if overlaps:
        raise DataError(
            "; ".join(overlaps),
            where="data.overlap, which is `error`",
            fix="take these rows out of one of the files; `overlap: drop` leaves them out of the earlier split, "
            "`overlap: warn` keeps and counts them",
        )


def without_overlap(parts: Mapping[str, Rows]) -> tuple[dict[str, Rows], list[DataStep]]:
    """Leaves out of train what validation or a test has too, and of validation what a test has too: the rows that
    results are reported on stay whole.

    Raises:
        DataError: nothing is left of a split, or of a class in train.
    """
    kept, steps, names = dict(parts), [], list(parts)
    for place, name in enumerate(names):
        for kind in _KINDS if name in CHOSEN_ON else ():
            rows, later = kept[name], names[place + 1 :]
            others = {item for other in later for item in _of(parts[other], kind)} - {None}
            shared = [place for place, item in enumerate(_of(rows, kind)) if item in others]
            if not shared:
                continue
            out = set(shared)
            kept[name] = rows.take([place for place in range(len(rows)) if place not in out])
            check_left(
                rows,
                kept[name],
                name,
                f"{_HAS[kind]} that is also in {' or '.join(later)}",
                key="overlap",
                fix="give other rows, or set `overlap: warn` to keep and count them",
            )
            reason = (
                f"{rows.table.source}: {len(shared):,} of {len(rows):,} rows of {name} {_have(rows, kind)} that is "
                f"also in {' or '.join(later)}: {row_list([rows.indices[place] for place in shared])}; left out of "
                f"{name}"
            )
            numbers = tuple(rows.indices[place] + 1 for place in shared)
            steps.append(DataStep("overlap", len(rows), len(kept[name]), reason, numbers))
    return kept, steps


def check_left(rows: Rows, left: Rows, name: str, each: str, *, key: str, fix: str) -> None:
    """Raises where too little is left of a split.

    Args:
        left: what is left of `rows`.
        each: what was left out, as in "each has a text that ...".
        key: of `data`, by which it was left out.

    Raises:
        DataError: nothing is left, or, in train, nothing of a class.
    """
    lost = sort_names(set(count_names(rows.values)) - set(count_names(left.values))) if name == "train" else ()
    if len(left) and not lost:
        return
    what = f"no row of class {listed(lost)} is left in {name}" if len(left) else f"no row of {name} is left"
    raise DataError(f"{what}: each {each}", where=f"{rows.table.source}, data.{key}", fix=fix)
