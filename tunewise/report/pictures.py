"""The sections of a page that show images: samples, mistakes, what the models looked at. Plain text and data URIs."""

from __future__ import annotations

import re
from collections.abc import Mapping, Sequence
from typing import Any

from tunewise.report.colour_map import overlay
from tunewise.report.contents import Comparison
from tunewise.report.figures import plain, score

NAME_LIMIT = 60
LABEL_LIMIT = 40
_IMAGE = re.compile(r"data:image/jpeg;base64,[A-Za-z0-9+/]+={0,2}")
_HOW = {
    "grad-cam": "By Grad-CAM: the last feature map of the network, its channels weighed by what each adds to the class",
    "occlusion": "By occlusion: where a grey patch makes the class less probable",
}


def picture_sections(comparison: Comparison) -> dict[str, Any]:
    """What the template places; empty where rows are no images."""
    found = comparison.get("pictures")
    if not found:
        return {}
    uris = _Uris(found["thumbnails"]["made"])
    looked_at = found["looked_at"]
    return {
        "told": _told(found),
        "samples": [_sample(row, uris) for row in found["samples"]],
        "numbers": comparison["data"]["schema"].get("task") == "regression",
        "mistakes": [
            {"name": plain(name, 80), "count": told["count"], "of": told["of"], "rows": _mistakes(told["rows"], uris)}
            for name, told in found["mistakes"].items()
        ],
        "looked_at": _looked_at(looked_at) if looked_at else {},
    }


def with_thumbnails(examples: Sequence[dict[str, Any]], comparison: Comparison) -> list[dict[str, Any]]:
    """Rows of `sections.examples`, each with the data URI of its image, None where it is none."""
    uris = _Uris(((comparison.get("pictures") or {}).get("thumbnails") or {}).get("made") or {})
    rows = comparison["disagreements"]
    return [{**shown, "thumbnail": uris.of(row.get("thumbnail"))} for shown, row in zip(examples, rows, strict=False)]


def audit_pictures(content: Mapping[str, Any]) -> dict[str, Any]:
    """What the page of a check places: groups of images, and the data URIs of each finding's examples by its place."""
    found = content.get("pictures")
    if not found:
        return {}
    uris = _Uris(found["thumbnails"]["made"])

    def groups(name: str) -> list[dict[str, Any]]:
        return [
            {
                "name": plain(group["name"], NAME_LIMIT),
                "rows": group["rows"],
                "shown": [
                    {
                        "split": plain(row["split"], NAME_LIMIT),
                        "row": row["row"],
                        "name": plain(row["name"], NAME_LIMIT),
                        "image": uris.of(row["thumbnail"]),
                    }
                    for row in group["shown"]
                ],
            }
            for group in found[name]
        ]

    return {
        "classes": groups("classes"),
        "more_classes": found["more_classes"],
        "odd": groups("odd"),
        "findings": {place: [uris.of(key) for key in keys] for place, keys in enumerate(found["findings"])},
        "told": _not_shown(found["thumbnails"]),
    }


def safe_image(uri: Any) -> str | None:
    """A data URI of JPEG, and nothing else."""
    return uri if isinstance(uri, str) and _IMAGE.fullmatch(uri) else None


class _Uris:
    """By key; None where there is none."""

    def __init__(self, made: Mapping[str, str]):
        self._made = made

    def of(self, key: str | None) -> str | None:
        return safe_image(self._made.get(key)) if key else None


def _told(found: Mapping[str, Any]) -> list[str]:
    """What is not shown, a line each."""
    lines = []
    if found["methods"] > len(found["mistakes"]):
        lines.append(f"Of {found['methods']} methods, the best {len(found['mistakes'])} by validation are shown.")
    return [*lines, *_not_shown(found["thumbnails"])]


def _not_shown(thumbnails: Mapping[str, Any]) -> list[str]:
    """Which images are shown by name alone, and why."""
    lines = []
    if gone := thumbnails["gone"]:
        named = ", ".join(plain(name, NAME_LIMIT) for name in gone[:3])
        lines.append(f"{len(gone)} images could not be read any more, and are shown by name: {named}.")
    if thumbnails["beyond"]:
        lines.append(
            f"A page has {len(thumbnails['made'])} small images at most; {thumbnails['beyond']} more are shown by name."
        )
    return lines


def _row(row: Mapping[str, Any], uris: _Uris) -> dict[str, Any]:
    return {
        "row": row["row"],
        "name": plain(row["name"], NAME_LIMIT),
        "image": uris.of(row["thumbnail"]),
        "truth": _word(row["truth"]),
    }


def _sample(row: Mapping[str, Any], uris: _Uris) -> dict[str, Any]:
    """With the decisions, most votes first, and who made each with which probability."""
    votes: dict[str, dict[str, Any]] = {}
    for name, said in row["said"].items():
        vote = votes.setdefault(_word(said["decision"]), {"right": said["right"], "who": []})
        vote["who"].append(f"{plain(name, 60)} {_certain(said)}".strip())
    order = sorted(votes.items(), key=lambda vote: -len(vote[1]["who"]))
    return _row(row, uris) | {"votes": [{"label": label, **vote} for label, vote in order]}


def _mistakes(rows: Sequence[Mapping[str, Any]], uris: _Uris) -> list[dict[str, Any]]:
    return [_row(row, uris) | {"label": _word(row["decision"]), "certain": _certain(row)} for row in rows]


def _word(value: Any) -> str:
    return score(value) if isinstance(value, float) else plain(value, LABEL_LIMIT)


def _certain(said: Mapping[str, Any]) -> str:
    """The probability, of several labels with the label; how far a number is off."""
    if said["error"] is not None:
        return f"off by {score(said['error'])}"
    about = "" if said["about"] == said["decision"] else f"{plain(said['about'], LABEL_LIMIT)} "
    return f"{about}{said['probability']:.0%}"


def _looked_at(found: Mapping[str, Any]) -> dict[str, Any]:
    """A table of images that were chosen by class, with a map of each method; and of each method the maps of its most
    certain mistakes."""
    images = {key: safe_image(uri) for key, uri in found["images"].items()}
    methods = found["methods"]
    shared: dict[tuple[int, str], dict[str, Any]] = {}
    mistakes = []
    for name, seen in methods.items():
        for row in seen["rows"]:
            if row["why"] != "a mistake":
                key = (row["row"], row["image"])
                shared.setdefault(key, {**_seen(row, images, seen["how"]), "maps": {}})["maps"][name] = row
        wrong = [_seen(row, images, seen["how"]) for row in seen["rows"] if row["why"] == "a mistake"]
        if wrong:
            mistakes.append({"name": plain(name, 80), "rows": wrong})
    rows = []
    for row in shared.values():
        cells = [
            _seen(row["maps"][name], images, seen["how"]) if name in row["maps"] else None
            for name, seen in methods.items()
        ]
        rows.append({**row, "cells": cells})
    how = [_HOW[name] for name in dict.fromkeys(seen["how"] for seen in methods.values())]
    taken = [f"{plain(name, 60)} {seen['passes']:,}" for name, seen in methods.items()]
    return {
        "how": "; ".join(how),
        "passes": ", ".join(taken),
        "heads": [plain(name, 60) for name in methods],
        "rows": rows,
        "mistakes": mistakes,
    }


def _seen(row: Mapping[str, Any], images: Mapping[str, str | None], how: str) -> dict[str, Any]:
    """An image as the model got it, the map over it, and what the map is of."""
    largest = max(max(line) for line in row["map"])
    told = "nothing speaks for it" if largest <= 0 else ""
    if how == "occlusion" and largest > 0:
        told = f"covered: {100 * largest:.0f} points less" if largest >= 0.005 else "no patch matters"
    return {
        "row": row["row"],
        "name": plain(row["name"], NAME_LIMIT),
        "image": images[row["image"]],
        "map": overlay(row["map"]),
        "truth": plain(row["truth"], LABEL_LIMIT),
        "label": plain(row["output"], LABEL_LIMIT),
        "certain": f"{row['probability']:.0%}",
        "right": row["right"],
        "told": told,
    }
