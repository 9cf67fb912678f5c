"""What the report of a comparison shows of images: some of each class, mistakes, and what the models looked at.

Of each method its first finished seed speaks. In a cross-validation, predictions are those on all folds, and maps those
of the first fold.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Any

import numpy as np

from tunewise.comparison.judged import Judged
from tunewise.data.picture import Picture, shown_text
from tunewise.data.thumbnails import Thumbnails
from tunewise.evaluate.notable_rows import confident_mistakes, said_of, spread_rows
from tunewise.tracking.shown import LOOKED_AT
from tunewise.types import Predictions, Schema

METHODS = 6
"""Methods that are shown, the best first."""
SAMPLES = 12
MISTAKES = 8
"""Of each method."""
DISAGREEMENTS = 20
THUMBNAILS = 60


def pictured(
    judged: Judged,
    names: Sequence[str],
    folders: Mapping[str, Path],
    disagreements: Sequence[dict[str, Any]],
    schema: Schema,
) -> dict[str, Any]:
    """Plain data, as `report.contents.Pictures` has it; empty where rows are no images, or nothing has finished.

    Args:
        names: of the methods, the best first.
        folders: of each method's first finished run.
        disagreements: as comparison.json has them; each of the first ones is given the key of its thumbnail.
    """
    names = [name for name in names if judged.test.get(name)]
    if not schema.image or schema.gives_numbers or not names:
        return {}
    of = _Rows(judged, schema, Thumbnails(THUMBNAILS))
    shown = names[:METHODS]
    first = {name: judged.test[name][0] for name in shown}
    places = spread_rows(first[shown[0]].targets, schema.task, SAMPLES)
    samples = [of.row(place, first[shown[0]]) | {"said": of.said(place, first)} for place in places]
    mistakes: dict[str, Any] = {shown[0]: of.mistakes(first[shown[0]])}
    for row in disagreements[:DISAGREEMENTS]:
        row["thumbnail"] = of.thumbnail(row["index"])
    mistakes |= {name: of.mistakes(first[name]) for name in shown[1:]}
    return {
        "methods": len(names),
        "samples": samples,
        "mistakes": mistakes,
        "looked_at": _looked_at(shown, folders, schema),
        "thumbnails": of.thumbnails.as_dict(),
    }


class _Rows:
    """Rows of the test set as plain data."""

    def __init__(self, judged: Judged, schema: Schema, thumbnails: Thumbnails):
        self.judged, self.schema, self.thumbnails = judged, schema, thumbnails

    def thumbnail(self, place: int) -> str | None:
        picture = self.judged.texts[place][0]
        return self.thumbnails.key(picture) if isinstance(picture, Picture) else None

    def row(self, place: int, predictions: Predictions) -> dict[str, Any]:
        return {
            "row": int(predictions.rows[place]),
            "name": shown_text(self.judged.texts[place][0]),
            "thumbnail": self.thumbnail(place),
            "truth": in_words(predictions.targets[place], self.schema),
        }

    def said(self, place: int, first: Mapping[str, Predictions]) -> dict[str, Any]:
        """What each method says of a row."""
        return {name: self._said(place, predictions) for name, predictions in first.items()}

    def mistakes(self, predictions: Predictions) -> dict[str, Any]:
        """How many rows are wrong, and those of which a method was most certain."""
        wrong = confident_mistakes(predictions, self.schema.task)
        rows = [self.row(place, predictions) | self._said(place, predictions) for place in wrong[:MISTAKES]]
        return {"count": len(wrong), "of": len(predictions.targets), "rows": rows}

    def _said(self, place: int, predictions: Predictions) -> dict[str, Any]:
        said = said_of(predictions, place, self.schema.task)
        about = None if said.output is None else self.schema.labels[said.output]
        return {
            "decision": in_words(predictions.decisions[place], self.schema),
            "about": about,
            "probability": said.probability,
            "error": said.error,
            "right": None if self.schema.task == "regression" else said.right,
        }


def in_words(value: Any, schema: Schema) -> str | float:
    """A target or a decision: a class, the labels that are set, or a number."""
    if schema.task == "regression":
        return float(value)
    if schema.task == "multilabel":
        marked = [label for label, mark in zip(schema.labels, np.asarray(value), strict=True) if mark > 0.5]
        return ", ".join(marked) or "no label"
    return schema.labels[int(value)]


def _looked_at(names: Sequence[str], folders: Mapping[str, Path], schema: Schema) -> dict[str, Any]:
    """What each method's run has left, classes by name. `images` holds each image once, whoever looked at it."""
    images: dict[str, str] = {}
    methods: dict[str, Any] = {}
    for name in names:
        found = LOOKED_AT.read(folders[name]) if name in folders else {}
        if not found:
            continue
        rows = []
        for seen in found["images"]:
            key = next((key for key, uri in images.items() if uri == seen["image"]), f"i{len(images)}")
            images[key] = seen["image"]
            truth = ", ".join(schema.labels[place] for place in seen["truth"]) or "no label"
            rows.append({**seen, "image": key, "truth": truth, "output": schema.labels[seen["output"]]})
        methods[name] = {"how": found["how"], "passes": found["passes"], "rows": rows}
    return {"images": images, "methods": methods} if methods else {}
