"""What models draw, before and after training: figures in words and tables, and the images side by side."""

from __future__ import annotations

from collections.abc import Iterable, Mapping
from typing import Any

from tunewise.report.contents import Comparison
from tunewise.report.figures import interval, is_number, plain, score
from tunewise.report.pictures import safe_image

NAMES = {
    "fid": "FID",
    "fid_infinity": "FID of infinitely many",
    "kid": "KID",
    "inception_score": "Inception score",
}
_LIMIT = 80


def drawn_lines(found: Mapping[str, Any]) -> list[str]:
    """The figures of a run's record for the terminal, a line each."""
    if "after" not in found:
        return [f"drawn images have no figures: {plain(found['why_not'], 300)}"] if found.get("why_not") else []
    lines = [_of_what(found)]
    for name, words in NAMES.items():
        before, after = (found[when]["figures"][name] for when in ("before", "after"))
        if not is_number(after.get("value")) or not is_number(before.get("value")):
            lines.append(f"{words}: {plain(after.get('why_not') or before.get('why_not'), 300)}")
            continue
        change = found["difference"].get(name) or {}
        ends = change.get("interval")
        spread = f" ({_signed(change['value'])}, {interval(*ends)})" if ends else f" ({_signed(change['value'])})"
        lines.append(f"{words}: {_told(after)} after training, {score(before['value'])} before{spread}")
    return lines


def drawn_sections(comparison: Comparison, images: Mapping[str, Mapping[str, Any]]) -> dict[str, Any]:
    """What the template places, of the first finished run of each entry; empty where no model draws.

    Args:
        images: by entry, as `drawn.json` has them.
    """
    first: dict[str, Mapping[str, Any]] = {}
    for run in comparison["runs"]:
        if run.get("drawn"):
            first.setdefault(run.get("name") or run["method"], run["drawn"])
    if not first:
        return {}
    judged = {name: found for name, found in first.items() if "after" in found}
    extractors = {found["after"]["extractor"]["sha256"] for found in judged.values()}
    missing = [
        f"{plain(name, _LIMIT)}: {plain(found['why_not'], 300)}"
        for name, found in first.items()
        if found.get("why_not")
    ]
    missing += _reasons(judged.values())
    return {
        "about": [_of_what(found) for found in list(judged.values())[:1]],
        "several": len(extractors) > 1,
        "heads": list(NAMES.values()),
        "rows": _rows(judged) if len(extractors) == 1 else [],
        "missing": missing,
        "grids": _grids({name: images[name] for name in first if images.get(name)}),
    }


def drawn_summary(comparison: Comparison) -> str:
    """FID of each method's first finished run beside the untuned model's; nothing where there is none."""
    told: dict[str, str] = {}
    before, judges = set[float](), set[str]()
    for run in comparison["runs"]:
        name, found = run.get("name") or run["method"], run.get("drawn") or {}
        if "after" not in found or name in told:
            continue
        fid = {when: found[when]["figures"]["fid"].get("value") for when in ("before", "after")}
        if all(is_number(value) for value in fid.values()):
            told[name] = f"{score(fid['after'])} with {plain(name, _LIMIT)}"
            before.add(fid["before"])
            judges.add(found["after"]["extractor"]["sha256"])
    if not told or len(before) > 1 or len(judges) > 1:
        return ""
    return f"FID {score(before.pop())} before training, {', '.join(told.values())}."


def _reasons(judged: Iterable[Mapping[str, Any]]) -> list[str]:
    """Why figures are missing, each reason once."""
    found = (
        f"{words}: {plain(figure['why_not'], 300)}"
        for run in judged
        for key, words in NAMES.items()
        for figure in (run["before"]["figures"][key], run["after"]["figures"][key])
        if figure.get("why_not")
    )
    return list(dict.fromkeys(found))


def _rows(judged: Mapping[str, Mapping[str, Any]]) -> list[dict[str, Any]]:
    """A row for each untuned model whose figures differ, and one for each method."""
    rows: list[dict[str, Any]] = []
    for name, found in judged.items():
        before = {"name": "untuned", "cells": [_cell(found["before"]["figures"][key], None) for key in NAMES]}
        if before not in rows:
            rows.append(before)
        cells = [_cell(found["after"]["figures"][key], found["difference"].get(key)) for key in NAMES]
        rows.append({"name": plain(name, _LIMIT), "cells": cells})
    return sorted(rows, key=lambda row: row["name"] != "untuned")


def _cell(figure: Mapping[str, Any], change: Mapping[str, Any] | None) -> dict[str, str]:
    """A figure with its interval, and how it changed."""
    if not is_number(figure.get("value")):
        return {"value": "–", "told": ""}
    if not change or not is_number(change["value"]):
        return {"value": _told(figure), "told": ""}
    ends = f" ({interval(*change['interval'])})" if change["interval"] else ""
    return {"value": _told(figure), "told": f"{_signed(change['value'])}{ends}"}


def _told(figure: Mapping[str, Any]) -> str:
    ends = figure.get("interval")
    return f"{score(figure['value'])} ({interval(*ends)})" if ends else score(figure["value"])


def _signed(value: float) -> str:
    return f"{'+' if value > 0 else '-' if value < 0 else ''}{score(abs(value))}"


def _of_what(found: Mapping[str, Any]) -> str:
    after = found["after"]
    return (
        f"{after['generated']:,} images drawn in {found['options']['steps']} steps, beside {after['real']:,} of "
        f"{plain(found['test'], 60)}; {plain(after['extractor']['name'], 300)}"
    )


def _grids(images: Mapping[str, Mapping[str, Any]]) -> list[dict[str, Any]]:
    """Images of each untuned model, each once, and of each method."""
    grids: list[dict[str, Any]] = []
    for name, found in images.items():
        before = {"name": "untuned", "image": safe_image(found["before"])}
        if before not in grids:
            grids.append(before)
        grids.append({"name": plain(name, _LIMIT), "image": safe_image(found["after"])})
    return sorted(grids, key=lambda shown: shown["name"] != "untuned")
