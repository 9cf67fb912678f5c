"""What the page of a check shows of images: some of each class, odd ones, and the rows that findings name."""

from __future__ import annotations

from collections.abc import Iterator, Mapping, Sequence
from typing import Any

import numpy as np

from tunewise.audit.finding import Finding
from tunewise.audit.view import View
from tunewise.data.picture import Facts
from tunewise.data.picture_table import LONG, TINY
from tunewise.data.thumbnails import Thumbnails
from tunewise.types import Split

EACH = 4
"""Images of each class, and of each kind of odd ones."""
CLASSES = 12
ODD = 6
"""Kinds of odd images."""
THUMBNAILS = 120


def pictured(view: View, findings: Sequence[Finding]) -> dict[str, Any]:
    """Plain data; empty where rows are no images.

    `classes` and `odd` are groups with `name`, `rows` (how many there are) and `shown`; `findings` has for each finding
    the thumbnails of its examples; `thumbnails` as of a report. All but the findings are of train.
    """
    if not view.data.schema.image:
        return {}
    thumbnails, train = Thumbnails(THUMBNAILS), view.data.splits["train"]
    of_findings = [
        [_key(view.data.splits.get(finding.split), example.row, thumbnails) for example in finding.examples]
        for finding in findings
    ]
    classes = dict(_classes(view, train))
    odd = dict(_odd(train))
    return {
        "classes": [_group(name, places, train, thumbnails) for name, places in list(classes.items())[:CLASSES]],
        "more_classes": max(0, len(classes) - CLASSES),
        "odd": [_group(name, places, train, thumbnails) for name, places in list(odd.items())[:ODD]],
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


def _odd(split: Split) -> Iterator[tuple[str, list[int]]]:
    """Places of images of odd sizes, and of those that had to become RGB of 8 bits, by what was done."""
    facts = [picture.facts for (picture,) in split.texts]
    yield from _some(f"a side below {TINY} pixels", facts, lambda fact: min(fact.width, fact.height) < TINY)
    sides = f"{LONG:g} times as long as high, or the other way round"
    yield from _some(sides, facts, lambda fact: max(fact.width, fact.height) > LONG * min(fact.width, fact.height))
    for what in sorted({what for fact in facts if fact for what in fact.converted}):
        yield from _some(what, facts, lambda fact, what=what: what in fact.converted)


def _some(name: str, facts: Sequence[Facts | None], is_odd: Any) -> Iterator[tuple[str, list[int]]]:
    if places := [place for place, fact in enumerate(facts) if fact and is_odd(fact)]:
        yield name, places


def _group(name: str, places: Sequence[int], split: Split, thumbnails: Thumbnails) -> Mapping[str, Any]:
    shown = []
    for place in places[:EACH]:
        picture = split.texts[place][0]
        shown.append({"row": int(split.rows[place]), "name": picture.shown, "thumbnail": thumbnails.key(picture)})
    return {"name": name, "rows": len(places), "shown": shown}


def _key(split: Split | None, row: int, thumbnails: Thumbnails) -> str | None:
    """Of the row with this number in its source."""
    places = () if split is None else np.flatnonzero(split.rows == row)
    return thumbnails.key(split.texts[int(places[0])][0]) if len(places) else None
