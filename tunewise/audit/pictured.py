"""What the page of a check shows of images: some of each class, odd ones, and the rows that findings name."""

from __future__ import annotations

from collections.abc import Iterable, Iterator, Mapping, Sequence
from typing import Any

import numpy as np

from tunewise.audit.finding import Finding
from tunewise.audit.view import View
from tunewise.data.picture import LONG, TINY, Facts
from tunewise.data.thumbnails import Thumbnails
from tunewise.types import Split

EACH = 4
"""Images of each class, and of each kind of odd ones."""
CLASSES = 12
ODD = 6
"""Kinds of odd images."""
THUMBNAILS = 120

Place = tuple[Split, int]
"""A row by its split and its place there."""


def pictured(view: View, findings: Sequence[Finding]) -> dict[str, Any]:
    """Plain data; empty where rows are no images.

    `classes` and `odd` are groups with `name`, `rows` (how many there are) and `shown`; `findings` has for each finding
    the thumbnails of its examples; `thumbnails` as of a report. Classes are those of train.
    """
    if not view.data.schema.image:
        return {}
    thumbnails, train = Thumbnails(THUMBNAILS), view.data.splits["train"]
    of_findings = [
        [_key(view.data.splits.get(finding.split), example.row, thumbnails) for example in finding.examples]
        for finding in findings
    ]
    classes = dict(_classes(view, train))
    odd = _odd(view.data.splits.values())
    return {
        "classes": [
            _group(name, [(train, place) for place in places], thumbnails)
            for name, places in list(classes.items())[:CLASSES]
        ],
        "more_classes": max(0, len(classes) - CLASSES),
        "odd": [_group(name, places, thumbnails) for name, places in list(odd.items())[:ODD]],
        "findings": of_findings,
        "thumbnails": thumbnails.as_dict(),
    }


def _classes(view: View, split: Split) -> Iterator[tuple[str, list[int]]]:
    """Places of the rows of each label, in the order of labels; of numbers, the least and the largest."""
    if view.task == "regression":
        order = np.argsort(split.targets, kind="stable").tolist()
        yield "the least", order[:EACH]
        yield "the largest", order[::-1][:EACH]
        return
    marks = split.targets if view.task == "multilabel" else np.eye(len(view.data.schema.labels))[split.targets]
    for number, label in enumerate(view.data.schema.labels):
        yield label, np.flatnonzero(marks[:, number] > 0).tolist()


def _odd(splits: Iterable[Split]) -> dict[str, list[Place]]:
    """Images of odd sizes, and those that had to become RGB of 8 bits, by what was done."""
    found: dict[str, list[Place]] = {}
    for split in splits:
        for place, (picture,) in enumerate(split.texts):
            for what in _oddities(picture.facts):
                found.setdefault(what, []).append((split, place))
    return dict(sorted(found.items()))


def _oddities(fact: Facts) -> Iterator[str]:
    if fact.tiny:
        yield f"a side below {TINY} pixels"
    if fact.long:
        yield f"{LONG:g} times as long as high, or the other way round"
    yield from fact.converted


def _group(name: str, places: Sequence[Place], thumbnails: Thumbnails) -> Mapping[str, Any]:
    shown = []
    for split, place in places[:EACH]:
        picture = split.texts[place][0]
        row = {"split": split.name, "row": int(split.rows[place]), "name": picture.shown}
        shown.append({**row, "thumbnail": thumbnails.key(picture)})
    return {"name": name, "rows": len(places), "shown": shown}


def _key(split: Split | None, row: int, thumbnails: Thumbnails) -> str | None:
    """Of the row with this number in its source."""
    places = () if split is None else np.flatnonzero(split.rows == row)
    return thumbnails.key(split.texts[int(places[0])][0]) if len(places) else None
