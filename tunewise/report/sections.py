"""What stands in each section of the page, as plain text ready to be placed."""

from __future__ import annotations

import json
import math
from collections.abc import Mapping
from typing import Any

from tunewise.report.contents import Comparison, Run
from tunewise.report.cost_columns import cost_columns
from tunewise.report.entries import Entry, entry_name, explained, last_part, named_tests, stacked_names, value_of
from tunewise.report.figures import interval, is_number, metric_name, plain, plain_lines, score, seconds, size
from tunewise.report.interval_bar import bar_of, scale_of
from tunewise.report.metric_words import entity_type, greater_is_better, is_neutral, meaning
from tunewise.report.words import gap

EXAMPLES_SHOWN = 20
TEXT_LIMIT = 600
RECIPE_LIMIT = 50_000


def facts(comparison: Comparison) -> list[tuple[str, str]]:
    rows = comparison["data"]["rows"]
    models = list(dict.fromkeys(run["model"] for run in comparison["runs"] if run["kind"] != "baseline"))
    return [
        ("model", ", ".join(last_part(model) for model in models) or "–"),
        ("data", last_part(str((comparison["recipe"].get("data") or {}).get("train")))),
        ("rows", tested_rows(comparison) or " / ".join(f"{plain(name)} {count:,}" for name, count in rows.items())),
        ("made", plain(comparison["created"]).replace("T", " ")[:16]),
    ]


def tested_rows(comparison: Comparison) -> str:
    """ "1,050, each tested once in 5 folds"; nothing without folds."""
    folds = comparison.get("folds")
    return f"{folds['rows']:,}, each tested once in {folds['count']} folds" if folds else ""


def split_rows(comparison: Comparison) -> list[tuple[str, str]]:
    """The rows of each split; with folds from the fewest to the most."""
    folds = comparison.get("folds")
    if not folds:
        return [(plain(name), f"{rows:,} rows") for name, rows in comparison["data"]["rows"].items()]
    told = []
    for name in folds["sizes"][0]:
        ends = sorted({sizes[name] for sizes in folds["sizes"]})
        told.append((plain(name), " to ".join(f"{end:,}" for end in dict.fromkeys((ends[0], ends[-1]))) + " rows"))
    return [("rows", tested_rows(comparison)), *((f"{name} of a fold", rows) for name, rows in told)]


def tiles(entries: list[Entry], comparison: Comparison) -> list[tuple[str, str, str]]:
    """The figures of the chosen entry: what, how much, and a word on it."""
    chosen = next((entry for entry in entries if entry.chosen), None)
    if chosen is None:
        return []
    columns = {column.key: column for column in cost_columns([chosen])}
    tiles = [(metric_name(comparison["metric"]), score(chosen.mean), interval(chosen.low, chosen.high))]
    for key, words in (
        ("train_seconds", "to train"),
        ("peak_memory_bytes", "peak memory"),
        ("trainable_parameters", "trained parameters"),
        ("saved_bytes", "saved"),
        ("predict_ms_per_example", "per prediction"),
    ):
        if key in columns:
            tiles.append((words, *columns[key].cell(chosen)))
    return tiles


def table_rows(entries: list[Entry], comparison: Comparison) -> list[dict[str, Any]]:
    scale = scale_of(entries, comparison["greater_is_better"])
    columns = cost_columns(entries)
    return [
        {
            "entry": entry,
            "explained": explained(entry),
            "score": score(entry.mean),
            "interval": interval(entry.low, entry.high),
            "sd": score(entry.sd) if is_number(entry.sd) else "",
            "validation": score(entry.validation),
            "bar": bar_of(entry, scale),
            "costs": [column.cell(entry) for column in columns],
            "errors": list(dict.fromkeys(plain(run["error"]["what"], 300) for run in entry.runs if run["error"])),
        }
        for entry in entries
    ]


def left_out(comparison: Comparison) -> list[str]:
    """Why methods did not run that the recipe did not name itself; what holds for several models is told once."""
    reasons = [entry["reason"] for entry in comparison.get("left_out") or []]
    return [plain(reason, 400) for reason in dict.fromkeys(reasons)]


def rate_table(comparison: Comparison) -> dict[str, Any]:
    """What each method gave on validation with each learning rate, where several were tried."""
    rates = comparison.get("rates") or []
    scales = sorted({rate["scale"] for rate in rates})
    rows = []
    for name in dict.fromkeys(rate["name"] for rate in rates):
        by_scale = {rate["scale"]: rate for rate in rates if rate["name"] == name}
        chosen = next(rate for rate in by_scale.values() if rate["chosen"])
        rows.append(
            {
                "name": plain(name),
                "cells": [(score(by_scale[scale]["value"]), by_scale[scale]["chosen"]) for scale in scales],
                "rate": f"{chosen['learning_rate']:.2g}" if is_number(chosen["learning_rate"]) else "–",
                "at_edge": chosen["at_edge"],
            }
        )
    return {"heads": [f"× {scale:g}" for scale in scales], "rows": rows, "stacked": stacked_names(comparison)}


def pair_rows(comparison: Comparison) -> list[dict[str, str]]:
    found = comparison["recommendation"]
    if not found:
        return []
    return [
        {
            "first": plain(pair["second"]),
            "second": plain(pair["first"]),
            "gap": gap(pair, found),
            "p": score(pair["p_adjusted"]),
        }
        for pair in comparison["pairs"]
    ]


def metric_table(entries: list[Entry], primary: str) -> dict[str, Any]:
    """Every metric of every entry on the main test set, the primary first: mean, spread, whether it is the best; but
    for those of one type of entity, which have a table of their own."""
    names = [name for name in _metrics(entries) if not entity_type(name)]
    names.sort(key=lambda name: name != primary)
    return _table_of(entries, names, [metric_name(name) for name in names])


def type_table(entries: list[Entry]) -> dict[str, Any]:
    """The F1 of every type of entity."""
    names = [name for name in _metrics(entries) if entity_type(name)]
    table = _table_of(entries, names, [entity_type(name) for name in names])
    return table if names else {**table, "rows": []}


def _metrics(entries: list[Entry]) -> list[str]:
    return list(dict.fromkeys(name for entry in entries for name in entry.scores))


def _table_of(entries: list[Entry], names: list[str], heads: list[str]) -> dict[str, Any]:
    scored = [entry for entry in entries if entry.scores]
    best = {}
    for name in names:
        means = [entry.scores[name]["mean"] for entry in scored if name in entry.scores]
        finite = [mean for mean in means if is_number(mean)]
        if finite and not is_neutral(name):
            best[name] = max(finite) if greater_is_better(name) else min(finite)
    rows = []
    for entry in scored:
        cells = []
        for name in names:
            cell: Mapping[str, Any] = entry.scores.get(name) or {"mean": None, "sd": None}
            spread = f"± {score(cell['sd'])}" if is_number(cell["sd"]) else ""
            top = name in best and is_number(cell["mean"]) and score(cell["mean"]) == score(best[name])
            cells.append((score(cell["mean"]), spread, top))
        rows.append({"entry": entry, "cells": cells})
    ways = {name: None if is_neutral(name) else greater_is_better(name) for name in names}
    explained_heads = [(head, meaning(name), ways[name]) for head, name in zip(heads, names, strict=True)]
    return {"heads": explained_heads, "rows": rows, "undirected": None in ways.values()}


def test_table(entries: list[Entry], comparison: Comparison) -> dict[str, Any]:
    """The primary metric on each test set, where there are several: mean over seeds."""
    names = named_tests(comparison)
    if len(names) < 2:
        return {}
    rows = []
    for entry in entries:
        cells = []
        for name in names:
            values = [value_of(run, name, comparison["metric"]) for run in entry.finished]
            usable = [value for value in values if is_number(value)]
            cells.append(score(sum(usable) / len(usable)) if usable else "–")
        if entry.finished:
            rows.append({"entry": entry, "cells": cells})
    return {"heads": names, "rows": rows}


def examples(comparison: Comparison) -> list[dict[str, Any]]:
    """Rows on which entries disagree: text, truth, and who said what, most votes first."""
    regression = comparison["data"]["schema"].get("task") == "regression"
    shown = []
    for row in comparison["disagreements"][:EXAMPLES_SHOWN]:
        votes: dict[str, list[str]] = {}
        for name, decision in row["decisions"].items():
            votes.setdefault(plain(decision, 80), []).append(plain(name))
        truth = plain(row["truth"], 80)
        order = sorted(votes.items(), key=lambda vote: -len(vote[1]))
        if regression:
            order = sorted(votes.items(), key=lambda vote: _number(vote[0]))
        texts = row["text"] if isinstance(row["text"], (list, tuple)) else [row["text"]]
        shown.append(
            {
                "row": row["row"],
                "texts": [plain_lines(text, TEXT_LIMIT) for text in texts],
                "truth": truth,
                "votes": [
                    {"label": label, "who": ", ".join(who), "right": None if regression else label == truth}
                    for label, who in order
                ],
            }
        )
    return shown


def _number(text: str) -> float:
    try:
        return float(text)
    except ValueError:
        return math.inf


def run_rows(comparison: Comparison) -> list[dict[str, Any]]:
    tests = named_tests(comparison)
    return [
        {
            "name": entry_name(run),
            "seed": run["seed"],
            "fold": run.get("fold"),
            "status": run["status"],
            "score": score(value_of(run, tests[0], comparison["metric"])) if tests else "–",
            "time": seconds((run["costs"] or {}).get("total_seconds")) + _shared(run),
            "marginal": seconds((run["marginal"] or {}).get("total_seconds")),
            "folder": plain(run["folder"]),
            "error": run["error"],
            "warnings": run["warnings"],
        }
        for run in comparison["runs"]
    ]


def _shared(run: Run) -> str:
    """Behind the seconds of a run whose passes served others too."""
    return f", 1 of {run['stacked']} in one pass" if run.get("stacked") else ""


def environment_lines(comparison: Comparison) -> list[tuple[str, str]]:
    """Where it ran: key and value as text, byte counts with their unit, package versions on one line."""
    lines = []
    for key, value in comparison["environment"].items():
        if isinstance(value, Mapping):
            text = ", ".join(f"{plain(name)} {plain(version)}" for name, version in value.items() if version)
        else:
            text = size(value) if key.endswith("_bytes") else plain(value)
        lines.append((plain(key).removesuffix("_bytes").replace("_", " "), text))
    return lines


def recipe_text(recipe: Mapping[str, Any]) -> str:
    import yaml

    text = yaml.safe_dump(json.loads(json.dumps(recipe)), sort_keys=False, allow_unicode=True)
    return plain_lines(text, RECIPE_LIMIT)
