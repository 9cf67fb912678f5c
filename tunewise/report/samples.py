"""Texts that models wrote, side by side: prompt, reference, before training, and after it by each method."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from typing import Any

from tunewise.report.contents import Comparison
from tunewise.report.entries import Entry
from tunewise.report.figures import plain, plain_lines

SHOWN = 6
TEXT_LIMIT = 700
LINE_LIMIT = 160


def sample_table(entries: Sequence[Entry], comparison: Comparison) -> dict[str, Any]:
    """Heads, and for each row its number and a text per column; of each method its first seed that has finished. Empty
    where no model has written."""
    found = [(entry.name, _samples(run)) for entry in entries for run in entry.finished[:1] if _samples(run)]
    by_row = {row["row"]: row for _, rows in found for row in rows}
    if not by_row:
        return {}
    has_reference = any(row["reference"] for row in by_row.values())
    by_model = list(dict.fromkeys(run["model"] for run in comparison["runs"] if _samples(run)))
    heads = ["prompt", *(["reference"] if has_reference else []), *(["before tuning"] if len(by_model) == 1 else [])]
    rows = []
    for number, row in list(by_row.items())[:SHOWN]:
        cells = [row["prompt"], *([row["reference"]] if has_reference else [])]
        cells += [row["before"]] if len(by_model) == 1 else []
        for _, samples in found:
            cells.append(next((one["after"] for one in samples if one["row"] == number), None))
        rows.append(
            {"row": number, "cells": ["–" if text is None else plain_lines(text, TEXT_LIMIT) for text in cells]}
        )
    return {"heads": [*heads, *(plain(name, 80) for name, _ in found)], "rows": rows}


def how_written(comparison: Comparison) -> list[str]:
    """How texts were written and scored, a line each; the first run that has some speaks for all."""
    texts = next((run["texts"] for run in comparison["runs"] if run.get("texts")), None)
    if texts is None:
        return []
    return [
        writing(texts["options"]),
        *_copied(comparison),
        *(f"{plain(name)}: {plain(how)}" for name, how in texts["signatures"].items()),
    ]


def writing(options: Mapping[str, Any]) -> str:
    """How tokens were chosen, in words."""
    if options["temperature"] is not None:
        limits = [f"{name} {options[name]}" for name in ("top_k", "top_p") if options[name] is not None]
        how = ", ".join([f"drawn at temperature {options['temperature']:g}", *limits])
    else:
        how = f"beam search with {options['beams']} beams" if options["beams"] > 1 else "greedy"
    penalty = options["repetition_penalty"]
    also = f", repetition penalty {penalty:g}" if penalty != 1 else ""
    return f"{how}{also}, at most {options['max_new_tokens']:,} new tokens"


def copied(texts: Mapping[str, Any]) -> str | None:
    """What of the texts stands in the training rows, in words; nothing where it was not looked for, or texts are too
    short."""
    found = texts.get("overlap")
    if not found or found["share"] is None:
        return None
    told = f"{found['share']:.1%} of the runs of {found['words']} words written stand in the training texts"
    if found["reference_share"] is not None:
        told += f" (of the references' own: {found['reference_share']:.1%})"
    return f"{told}; the longest copy has {found['longest']} words" if found["longest"] else told


def _copied(comparison: Comparison) -> list[str]:
    """The same for the first finished run of each entry."""
    told: dict[str, str] = {}
    for run in comparison["runs"]:
        if run.get("texts") and run["status"] == "finished" and (words := copied(run["texts"])):
            told.setdefault(plain(run.get("name") or run["method"], 80), words)
    return [f"{name}: {words}" for name, words in told.items()]


def sample_lines(texts: Mapping[str, Any], at_most: int = 2) -> list[str]:
    """Some samples of a run's record for the terminal, a line for each text."""
    lines = [words] if (words := copied(texts)) else []
    for sample in texts.get("samples", [])[:at_most]:
        lines.append(f"row {sample['row']}: {plain(sample['prompt'], LINE_LIMIT)}")
        for name in ("reference", "before", "after"):
            if sample[name]:
                lines.append(f"    {name + ':':<11}{plain(sample[name], LINE_LIMIT)}")
    return lines


def _samples(run: Mapping[str, Any]) -> list[dict[str, Any]]:
    return (run.get("texts") or {}).get("samples") or []
