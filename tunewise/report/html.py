"""The page: one self-contained HTML file that asks no other host for anything.

What it shows is worked out here as plain text; the template only places it and jinja2 escapes every piece. Scripts and
styles are inline, and the content security policy allows nothing else: no request can leave the page.
"""

from __future__ import annotations

import json
import math
import re
from collections.abc import Mapping
from typing import Any

from tunewise.report.confusion import worst_pairs
from tunewise.report.contents import Comparison
from tunewise.report.cost_columns import cost_columns
from tunewise.report.entries import Entry, entries_of, explained, measured_costs, model_name, named_tests, value_of
from tunewise.report.figures import COSTS, interval, is_number, metric_name, plain, plain_lines, score, seconds, size
from tunewise.report.interval_bar import HEIGHT, WIDTH, bar_of, scale_of
from tunewise.report.metric_words import greater_is_better, meaning
from tunewise.report.plots import CURVES, MATRIX_LIMIT, confusion_heat_map, learning_curves, quality_against_cost
from tunewise.report.words import advise, gap

POLICY = (
    "default-src 'none'; style-src 'unsafe-inline'; script-src 'unsafe-inline'; img-src data:; "
    "base-uri 'none'; form-action 'none'"
)
EXAMPLES_SHOWN = 20
TEXT_LIMIT = 600
RECIPE_LIMIT = 50_000


def render_html(comparison: Comparison) -> str:
    """The page as text."""
    from jinja2 import Environment, PackageLoader, StrictUndefined, select_autoescape
    from markupsafe import Markup
    from plotly.offline import get_plotlyjs

    environment = Environment(
        loader=PackageLoader("tunewise.report"),
        autoescape=select_autoescape(default=True, default_for_string=True),
        undefined=StrictUndefined,
        trim_blocks=True,
        lstrip_blocks=True,
    )
    environment.filters["plain"] = plain
    entries = entries_of(comparison)
    groups, figures = _figures(entries, comparison)

    def source(name: str) -> Markup:
        return Markup(environment.loader.get_source(environment, name)[0])

    return environment.get_template("report.html.j2").render(
        policy=POLICY,
        css=source("report.css"),
        script=source("report.js"),
        plotly=Markup(get_plotlyjs()) if figures else "",
        figures=Markup(_json_for_script(figures)),
        groups=groups,
        comparison=comparison,
        advice=advise(comparison),
        facts=_facts(comparison),
        tiles=_tiles(entries, comparison),
        table=_table(entries, comparison),
        costs=cost_columns(entries),
        pairs=_pairs(comparison),
        confusions=_confusion_lists(entries, comparison),
        metrics=_metrics(entries, comparison["metric"]),
        tests=_tests(entries, comparison),
        examples=_examples(comparison),
        runs=_runs(comparison),
        environment=_environment(comparison),
        recipe=_yaml(comparison["recipe"]),
        several_seeds=any(len(entry.finished) > 1 for entry in entries),
        metric=metric_name(comparison["metric"]),
        metric_meaning=meaning(comparison["metric"]),
        width=WIDTH,
        height=HEIGHT,
    )


def _json_for_script(data: Any) -> str:
    """JSON that cannot end the script element or begin a comment in it."""
    text = json.dumps(data, separators=(",", ":"), allow_nan=False)
    return re.sub("[<>&\u2028\u2029]", lambda found: f"\\u{ord(found.group()):04x}", text)


def _figures(entries: list[Entry], comparison: Comparison) -> tuple[dict[str, dict[str, str]], dict[str, Any]]:
    """What can be chosen in each group of figures (key to words), and the figures by group and key."""
    drawn: dict[str, dict[str, Any]] = {"cost": {}, "curves": {}, "confusion": {}}
    words: dict[str, dict[str, str]] = {"cost": {}, "curves": {}, "confusion": {}}
    drawable = sum(is_number(entry.mean) for entry in entries) > 1
    for name in measured_costs(entries) if drawable else ():
        drawn["cost"][name] = quality_against_cost(entries, comparison, name)
        words["cost"][name] = COSTS[name][0]
    for what in CURVES:
        if (figure := learning_curves(entries, comparison, what)) is not None:
            drawn["curves"][what] = figure
            words["curves"][what] = metric_name(comparison["metric"]) if what == "metric" else CURVES[what]
    labels = comparison["data"]["schema"].get("labels") or []
    if len(labels) <= MATRIX_LIMIT:
        for place, (entry, counts) in enumerate(_confusions(entries, comparison)):
            drawn["confusion"][f"m{place}"] = confusion_heat_map(counts, labels)
            words["confusion"][f"m{place}"] = plain(entry.name)
    plain_figures = {
        group: {key: _finite(json.loads(figure.to_json())) for key, figure in figures.items()}
        for group, figures in drawn.items()
        if figures
    }
    return {group: names for group, names in words.items() if names}, plain_figures


def _finite(value: Any) -> Any:
    if isinstance(value, dict):
        return {key: _finite(inner) for key, inner in value.items()}
    if isinstance(value, list):
        return [_finite(inner) for inner in value]
    return None if isinstance(value, float) and not math.isfinite(value) else value


def _facts(comparison: Comparison) -> list[tuple[str, str]]:
    rows = comparison["data"]["rows"]
    models = list(dict.fromkeys(run["model"] for run in comparison["runs"] if run["kind"] != "baseline"))
    return [
        ("model", ", ".join(model_name(model) for model in models) or "–"),
        ("data", plain((comparison["recipe"].get("data") or {}).get("train"), 80)),
        ("rows", " / ".join(f"{plain(name)} {count:,}" for name, count in rows.items())),
        ("made", plain(comparison["created"]).replace("T", " ")[:16]),
    ]


def _tiles(entries: list[Entry], comparison: Comparison) -> list[tuple[str, str, str]]:
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


def _table(entries: list[Entry], comparison: Comparison) -> list[dict[str, Any]]:
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
            "bar": bar_of(entry, scale, comparison),
            "costs": [column.cell(entry) for column in columns],
            "errors": list(dict.fromkeys(plain(run["error"]["what"], 300) for run in entry.runs if run["error"])),
        }
        for entry in entries
    ]


def _pairs(comparison: Comparison) -> list[dict[str, str]]:
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


def _confusions(entries: list[Entry], comparison: Comparison) -> list[tuple[Entry, list[list[int]]]]:
    """The confusion matrix of each entry on the main test set, added up over seeds."""
    tests = named_tests(comparison)
    found = []
    for entry in entries:
        matrices = [run["confusion"][tests[0]] for run in entry.finished if (run["confusion"] or {}).get(tests[0])]
        if matrices:
            found.append(
                (entry, [[sum(cells) for cells in zip(*rows, strict=True)] for rows in zip(*matrices, strict=True)])
            )
    return found


def _confusion_lists(entries: list[Entry], comparison: Comparison) -> list[dict[str, Any]]:
    """The most frequent confusions of the chosen entry, and of the others where there are too many classes to draw."""
    labels = comparison["data"]["schema"].get("labels") or []
    found = _confusions(entries, comparison)
    if len(labels) <= MATRIX_LIMIT:
        found = found[:1]
    return [{"name": entry.name, "pairs": worst_pairs(counts, labels)} for entry, counts in found]


def _metrics(entries: list[Entry], primary: str) -> dict[str, Any]:
    """Every metric of every entry on the main test set, the primary first: mean, spread, whether it is the best."""
    scored = [entry for entry in entries if entry.scores]
    names = list(dict.fromkeys(name for entry in scored for name in entry.scores))
    names.sort(key=lambda name: name != primary)
    best = {}
    for name in names:
        means = [entry.scores[name]["mean"] for entry in scored if name in entry.scores]
        finite = [mean for mean in means if is_number(mean)]
        if finite:
            best[name] = max(finite) if greater_is_better(name) else min(finite)
    rows = []
    for entry in scored:
        cells = []
        for name in names:
            cell: Mapping[str, Any] = entry.scores.get(name) or {"mean": None, "sd": None}
            spread = f"± {score(cell['sd'])}" if is_number(cell["sd"]) else ""
            top = is_number(cell["mean"]) and score(cell["mean"]) == score(best[name])
            cells.append((score(cell["mean"]), spread, top))
        rows.append({"entry": entry, "cells": cells})
    heads = [(metric_name(name), meaning(name), greater_is_better(name)) for name in names]
    return {"heads": heads, "rows": rows}


def _tests(entries: list[Entry], comparison: Comparison) -> dict[str, Any]:
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


def _examples(comparison: Comparison) -> list[dict[str, Any]]:
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


def _runs(comparison: Comparison) -> list[dict[str, Any]]:
    tests = named_tests(comparison)
    return [
        {
            "name": run.get("name") or run["method"],
            "seed": run["seed"],
            "status": run["status"],
            "score": score(value_of(run, tests[0], comparison["metric"])) if tests else "–",
            "time": seconds((run["costs"] or {}).get("total_seconds")),
            "marginal": seconds((run["marginal"] or {}).get("total_seconds")),
            "folder": plain(run["folder"]),
            "error": run["error"],
            "warnings": run["warnings"],
        }
        for run in comparison["runs"]
    ]


def _environment(comparison: Comparison) -> list[tuple[str, str]]:
    """Where it ran: key and value as text, byte counts with their unit, package versions on one line."""
    lines = []
    for key, value in comparison["environment"].items():
        if isinstance(value, Mapping):
            text = ", ".join(f"{plain(name)} {plain(version)}" for name, version in value.items() if version)
        else:
            text = size(value) if key.endswith("_bytes") else plain(value)
        lines.append((plain(key).removesuffix("_bytes").replace("_", " "), text))
    return lines


def _yaml(recipe: Mapping[str, Any]) -> str:
    import yaml

    text = yaml.safe_dump(json.loads(json.dumps(recipe)), sort_keys=False, allow_unicode=True)
    return plain_lines(text, RECIPE_LIMIT)
