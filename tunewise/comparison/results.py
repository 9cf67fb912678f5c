"""Records and predictions of many runs -> the content of comparison.json (see report/contents.py)."""

from __future__ import annotations

import math
from collections.abc import Sequence
from dataclasses import asdict
from datetime import UTC, datetime
from typing import Any

import numpy as np

from tunewise.check import Checked
from tunewise.comparison.disagreements import disagreements
from tunewise.comparison.entry import Entry
from tunewise.comparison.folds import Folds
from tunewise.comparison.judged import judge
from tunewise.comparison.pictures import pictured
from tunewise.comparison.recommend import choose, recommend
from tunewise.comparison.records import Records
from tunewise.comparison.statistics import bootstrap, compare_pairs, summarise
from tunewise.data.picture import shown_text
from tunewise.recipe import Recipe
from tunewise.report.contents import Kind
from tunewise.tracking.environment import environment
from tunewise.tracking.record import RunRecord
from tunewise.tracking.shown import DRAWN

FORMAT = 1


def build_comparison(
    recipe: Recipe,
    checked: Checked,
    entries: Sequence[Entry],
    runs: Records,
    rates: Sequence[Any] = (),
    folds: Folds | None = None,
) -> dict[str, Any]:
    """Statistics on what has finished; the rest is listed with its status. Plain JSON data without NaN.

    Args:
        rates: the trials of `comparison.rates`, where rates were chosen.
        folds: the data of a cross-validation; `checked` is then of the first fold.
    """
    records = {entry: runs.read(entry.folder) for entry in entries}
    finished = {entry: record for entry, record in records.items() if record and record.status == "finished"}
    data = checked.data
    kinds = {entry.name: entry.kind for entry in entries}
    content = {
        "format": FORMAT,
        "created": datetime.now(UTC).isoformat(timespec="seconds"),
        "recipe": recipe.as_dict(),
        "metric": checked.metric,
        "greater_is_better": checked.evaluator.greater_is_better(checked.metric),
        "data": {
            "fingerprint": folds.fingerprint if folds else data.fingerprint,
            "rows": {name: len(split) for name, split in data.splits.items()},
            "schema": asdict(data.schema),
            "steps": [step.as_dict() for step in data.steps],
            "findings": [finding.told() for finding in checked.found.audit.findings],
        },
        "environment": {**environment(), **tuned_of(finished.values())},
        "runs": [run_lines(entry, record) for entry, record in records.items()],
        "rates": [asdict(trial) for trial in rates],
        "left_out": [asdict(entry) for entry in checked.left_out],
    }
    judged = judge(finished, checked, folds)
    test, texts, validation = judged.test, judged.texts, judged.validation
    costs = mean_costs(finished)
    seconds = {name: values["train_seconds"] for name, values in costs.items()}
    summaries, pairs, recommendation, split_rows = {}, (), None, ()
    if test:
        boot = bootstrap(test, judged.evaluator, checked.metric)
        summaries = {summary.method: summary for summary in summarise(boot)}
        chosen = choose(validation, boot.greater_is_better, kinds, seconds)
        pairs = compare_pairs(boot, chosen, kinds)
        recommendation = recommend(validation, boot, pairs, seconds, kinds)
        methods = {name: runs for name, runs in test.items() if kinds[name] == "method"}
        split_rows = disagreements(methods, data.schema, texts=texts)
    content |= {
        "summary": [
            _summary(
                name,
                [entry for entry in entries if entry.name == name],
                finished,
                summaries.get(name),
                validation.get(name),
                costs.get(name, {}),
                judged.scores.get(name, []),
            )
            for name in kinds
        ],
        "recommendation": asdict(recommendation) if recommendation else None,
        "pairs": [asdict(pair) for pair in pairs],
        "disagreements": [
            {**asdict(row), "text": shown[0] if len(shown) == 1 else shown}
            for row in split_rows
            for shown in [list(map(shown_text, texts[row.index]))]
        ],
    }
    best = sorted(validation, key=lambda name: -validation[name] if content["greater_is_better"] else validation[name])
    runs_of = {entry.name: entry.folder for entry in reversed(finished)}
    if shown := pictured(judged, _methods(best, recommendation, kinds), runs_of, content["disagreements"], data.schema):
        content["pictures"] = shown
    if images := {name: found for name, place in runs_of.items() if (found := DRAWN.read(place))}:
        content["drawn"] = images
    if folds is not None:
        content["folds"] = folds.as_dict()
        for summary in content["summary"]:
            summary["seeds"] = [values[checked.metric] for values in judged.scores.get(summary["name"], [])]
    return plain(content)


def _methods(best: Sequence[str], recommendation: Any, kinds: dict[str, Kind]) -> list[str]:
    """What was trained, the recommended one first."""
    chosen = [recommendation.method] if recommendation else []
    return list(dict.fromkeys(name for name in [*chosen, *best] if kinds[name] != "baseline"))


def plain(value: Any) -> Any:
    """JSON data: numpy numbers as Python's, NaN and infinity as None, tuples as lists."""
    if isinstance(value, dict):
        return {str(key): plain(inner) for key, inner in value.items()}
    if isinstance(value, (list, tuple)):
        return [plain(inner) for inner in value]
    if isinstance(value, np.generic):
        value = value.item()
    return None if isinstance(value, float) and not math.isfinite(value) else value


def tuned_of(records: Any) -> dict[str, Any]:
    """How the runs computed; the first that was tuned speaks for all."""
    tuned = next((record.tuned for record in records if "device" in record.tuned), {})
    return {key: value for key, value in tuned.items() if key != "recipe"}


def run_lines(entry: Entry, record: RunRecord | None) -> dict[str, Any]:
    known = {} if record is None else record.as_dict()
    return ({} if entry.fold is None else {"fold": entry.fold}) | {
        "id": known.get("id", entry.folder.name),
        "name": entry.name,
        "method": entry.method,
        "model": entry.model,
        "seed": entry.seed,
        "kind": entry.kind,
        "status": known.get("status", "pending"),
        "scores": known.get("scores", {}),
        "validation": known.get("validation", {}),
        "costs": known.get("costs") or {},
        "marginal": known.get("marginal") or {},
        "plan": known.get("plans", []),
        "curve": known.get("curve", []),
        "confusion": known.get("confusion", {}),
        "folder": f"runs/{entry.folder.name}",
        "error": known.get("error"),
        "warnings": known.get("warnings", []),
        **{
            name: known[name]
            for name in ("rounds", "texts", "forgetting", "soup", "drawn", "stacked")
            if known.get(name)
        },
    }


def mean_costs(finished: dict[Entry, RunRecord]) -> dict[str, dict[str, float]]:
    """Over the runs that ran alone; over all, where none did."""
    by_name: dict[str, list[RunRecord]] = {}
    for entry, record in finished.items():
        by_name.setdefault(entry.name, []).append(record)
    found = {}
    for name, runs in by_name.items():
        costs = [asdict(run.costs) for run in [run for run in runs if not run.stacked] or runs]
        found[name] = {key: float(np.mean([each[key] for each in costs])) for key in costs[0]}
    return found


def _summary(
    name: str,
    entries: list[Entry],
    finished: dict[Entry, RunRecord],
    summary: Any,
    validation: float | None,
    costs: dict[str, float],
    seeds: list[dict[str, float]],
) -> dict[str, Any]:
    scores = {}
    for metric in seeds[0] if seeds else ():
        values = [found[metric] for found in seeds]
        scores[metric] = {"mean": np.mean(values), "sd": np.std(values, ddof=1) if len(values) > 1 else None}
    return {
        "name": name,
        "method": entries[0].method,
        "model": entries[0].model,
        "kind": entries[0].kind,
        "runs": len(entries),
        "finished": sum(entry in finished for entry in entries),
        "mean": summary and summary.mean,
        "sd": summary and summary.sd,
        "low": summary and summary.low,
        "high": summary and summary.high,
        "validation_mean": validation,
        "costs": costs,
        "scores": scores,
    }
