"""The page: one self-contained HTML file that asks no other host for anything.

What it shows is worked out here as plain text; the template only places it and jinja2 escapes every piece. Scripts and
styles are inline. The content security policy names the two scripts by their sha256 and allows no other, nor any
request: text that slipped through could neither run nor send anything.
"""

from __future__ import annotations

import base64
import hashlib
import json
import math
import re
from typing import Any

from tunewise.report import sections
from tunewise.report.confusion import MATRIX_LIMIT, confusion_lists, confusions
from tunewise.report.contents import Comparison
from tunewise.report.cost_columns import cost_columns
from tunewise.report.entries import Entry, entries_of, measured_costs
from tunewise.report.figures import COSTS, is_number, metric_name, plain
from tunewise.report.interval_bar import HEIGHT, WIDTH
from tunewise.report.metric_words import meaning
from tunewise.report.page import POLICY, make_environment, source_of
from tunewise.report.plots import CURVES, confusion_heat_map, learning_curves, quality_against_cost
from tunewise.report.words import advise


def render_html(comparison: Comparison) -> str:
    """The page as text."""
    from markupsafe import Markup
    from plotly.offline import get_plotlyjs

    environment = make_environment()
    entries = entries_of(comparison)
    groups, figures = _figures(entries, comparison)
    script, plotly = source_of(environment, "report.js"), Markup(get_plotlyjs()) if figures else ""
    return environment.get_template("report.html.j2").render(
        policy=POLICY.format(scripts=f"{_named(plotly)} {_named(script)}" if figures else "'none'"),
        css=source_of(environment, "report.css"),
        script=script,
        plotly=plotly,
        figures=Markup(_json_for_script(figures)),
        groups=groups,
        comparison=comparison,
        advice=advise(comparison),
        facts=sections.facts(comparison),
        tiles=sections.tiles(entries, comparison),
        table=sections.table_rows(entries, comparison),
        costs=cost_columns(entries),
        pairs=sections.pair_rows(comparison),
        confusions=confusion_lists(entries, comparison),
        metrics=sections.metric_table(entries, comparison["metric"]),
        types=sections.type_table(entries),
        tests=sections.test_table(entries, comparison),
        rates=sections.rate_table(comparison),
        left_out=sections.left_out(comparison),
        examples=sections.examples(comparison),
        runs=sections.run_rows(comparison),
        environment=sections.environment_lines(comparison),
        recipe=sections.recipe_text(comparison["recipe"]),
        several_seeds=any(len(entry.finished) > 1 for entry in entries),
        metric=metric_name(comparison["metric"]),
        metric_meaning=meaning(comparison["metric"]),
        width=WIDTH,
        height=HEIGHT,
    )


def _named(script: str) -> str:
    """How a policy names an inline script: by the sha256 of what stands between its tags."""
    return f"'sha256-{base64.b64encode(hashlib.sha256(script.encode()).digest()).decode()}'"


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
        for place, (entry, counts) in enumerate(confusions(entries, comparison)):
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
