"""The last step of trainings that learn from what the model writes, in figures."""

from __future__ import annotations

from collections.abc import Sequence
from statistics import fmean, stdev
from typing import Any

from tunewise.report.entries import Entry
from tunewise.report.figures import is_number, score

HEADS = {
    "reward": ("reward", "mean over the answers of the step"),
    "kl": ("KL", "nats per answer to the model before training; only where the objective needs it"),
    "entropy": ("entropy", "nats per token: how open the model is about what comes next"),
    "clip_fraction": ("clip fraction", "share of tokens at which the limit on the ratio of probabilities holds"),
    "length": ("length", "tokens of an answer"),
    "ended": ("ended", "share of answers that the model ended by itself"),
    "silent_groups": ("silent groups", "share of prompts whose answers all got the same reward: they teach nothing"),
}


def round_table(entries: Sequence[Entry]) -> dict[str, Any]:
    """Heads with a word on each, and for each entry mean and spread over its runs; empty where no model learnt from its
    own answers."""
    last = {entry.name: found for entry in entries if (found := [run["rounds"]["last"] for run in _with_rounds(entry)])}
    names = [name for name in HEADS if any(name in step for steps in last.values() for step in steps)]
    rows = []
    for entry in entries:
        if entry.name not in last:
            continue
        cells = []
        for name in names:
            values = [step[name] for step in last[entry.name] if is_number(step.get(name))]
            spread = f"± {score(stdev(values))}" if len(values) > 1 else ""
            cells.append((score(fmean(values)) if values else "–", spread, False))
        rows.append({"entry": entry, "cells": cells})
    return {"heads": [(*HEADS[name], None) for name in names], "rows": rows}


def _with_rounds(entry: Entry) -> list[Any]:
    return [run for run in entry.finished if run.get("rounds")]
