"""Rows whose text is nearly equal to one of a later split: told, left out or refused, as `data.overlap` says."""

from __future__ import annotations

from collections.abc import Iterator, Mapping
from dataclasses import dataclass

from tunewise.cleaning.near_duplicates import Progress, Sketch, near_matches, sketch
from tunewise.data.clean import Rows
from tunewise.data.overlap import CHOSEN_ON, check_left, refuse_told
from tunewise.data.settings import DataConfig
from tunewise.data.table import row_list
from tunewise.types import DataStep


@dataclass(frozen=True)
class NearOverlap:
    """`places` are those rows of the split `later` whose text is nearly, but not exactly, one of the split `earlier`:
    each with the place of that one."""

    earlier: str
    later: str
    places: Mapping[int, int]


def find_near_overlaps(
    texts: Mapping[str, tuple[tuple[str, ...], ...]], threshold: float, progress: Progress = lambda share: None
) -> Iterator[NearOverlap]:
    """Every pair of splits that share texts that are nearly equal, in the order of the splits.

    Args:
        texts: those of each split, in the order train, validation, tests.
    """
    names = list(texts)
    pairs = [(earlier, later) for at, later in enumerate(names) for earlier in names[:at] if earlier in CHOSEN_ON]
    sketches = {name: sketch(rows) for name, rows in texts.items()}
    for number, (earlier, later) in enumerate(pairs):
        progress(number / len(pairs))
        exact = set(texts[earlier])
        matches = near_matches(sketches[later], sketches[earlier], threshold)
        places = {place: known for place, known in matches.items() if texts[later][place] not in exact}
        if places:
            yield NearOverlap(earlier, later, places)


def near_apart(config: DataConfig, parts: dict[str, Rows]) -> tuple[dict[str, Rows], list[DataStep]]:
    """Splits as `data.overlap` wants them where texts are nearly equal; as they are without `data.overlap_near`.

    Raises:
        DataError: it is `error` and there are such texts, or nothing is left of a split, or of a class in train.
    """
    if not config.overlap_near:
        return parts, []
    if config.overlap == "drop":
        return _without(parts, config.clean.near)
    found = list(find_near_overlaps({name: rows.texts for name, rows in parts.items()}, config.clean.near))
    told = [_told(overlap, parts[overlap.later], config.clean.near) for overlap in found]
    if config.overlap == "error":
        refuse_told(told)
    return parts, [
        DataStep(
            "near overlap",
            len(parts[overlap.later]),
            len(parts[overlap.later]),
            f"{line}. Scores on {overlap.later} are better than they will be on new texts. Kept as they are",
        )
        for overlap, line in zip(found, told, strict=True)
    ]


def _told(found: NearOverlap, rows: Rows, threshold: float) -> str:
    indices = [rows.indices[place] for place in found.places]
    return (
        f"{len(indices):,} of {len(rows):,} rows of {found.later} ({len(indices) / len(rows):.1%}) have a text that is "
        f"nearly equal to one in {found.earlier} (similarity of at least {threshold:g}): {rows.table.source}, "
        f"{row_list(indices)}"
    )


def _without(parts: dict[str, Rows], threshold: float) -> tuple[dict[str, Rows], list[DataStep]]:
    """Leaves out of train what is nearly a text of validation or a test, and of validation what is nearly one of a
    test."""
    kept, steps, names = dict(parts), [], list(parts)
    sketches: dict[str, Sketch] = {name: sketch(rows.texts) for name, rows in parts.items()}
    for at, name in enumerate(names):
        if name not in CHOSEN_ON:
            continue
        rows, later = parts[name], names[at + 1 :]
        out = {place for other in later for place in near_matches(sketches[name], sketches[other], threshold)}
        if not out:
            continue
        kept[name] = rows.take([place for place in range(len(rows)) if place not in out])
        check_left(
            rows,
            kept[name],
            name,
            f"has a text that is nearly equal to one in {' or '.join(later)}",
            key="overlap_near",
            fix="give other rows, leave out overlap_near, or raise data.clean.near",
        )
        reason = (
            f"{rows.table.source}: {len(out):,} of {len(rows):,} rows of {name} have a text that is nearly equal to "
            f"one in {' or '.join(later)} (similarity of at least {threshold:g}): "
            f"{row_list([rows.indices[place] for place in sorted(out)])}; left out of {name}"
        )
        steps.append(DataStep("near overlap", len(rows), len(kept[name]), reason))
    return kept, steps
