"""The page of a comparison: what it shows is worked out here as plain text, and placed by `report.page`."""

from __future__ import annotations

from typing import Any

from tunewise.report import sections
from tunewise.report.confusion import MATRIX_LIMIT, confusion_lists, confusions
from tunewise.report.contents import Comparison
from tunewise.report.cost_columns import cost_columns
from tunewise.report.drawn import drawn_sections
from tunewise.report.entries import Entry, entries_of, measured_costs
from tunewise.report.figures import COSTS, is_number, metric_name, plain
from tunewise.report.interval_bar import HEIGHT, WIDTH
from tunewise.report.metric_words import meaning
from tunewise.report.page import plain_figure, render_page
from tunewise.report.pictures import picture_sections, with_thumbnails
from tunewise.report.plots import CURVES, confusion_heat_map, learning_curves, quality_against_cost
from tunewise.report.rounds import round_table
from tunewise.report.samples import forgotten_lines, how_written, sample_table
from tunewise.report.soups import soup_table
from tunewise.report.words import advise


def render_html(comparison: Comparison) -> str:
    """The page as text."""
    entries = entries_of(comparison)
    groups, figures = _figures(entries, comparison)
    pictures = picture_sections(comparison)
    return render_page(
        "report.html.j2",
        figures,
        ("report.css", "pictures.css") if pictures else ("report.css",),
        pictures=pictures,
        groups=groups,
        comparison=comparison,
        folds=comparison.get("folds"),
        advice=advise(comparison),
        facts=sections.facts(comparison),
        tiles=sections.tiles(entries, comparison),
        table=sections.table_rows(entries, comparison),
        costs=cost_columns(entries),
        pairs=sections.pair_rows(comparison),
        confusions=confusion_lists(entries, comparison),
        metrics=sections.metric_table(entries, comparison["metric"]),
        types=sections.type_table(entries),
        rounds=round_table(entries),
        tests=sections.test_table(entries, comparison),
        rates=sections.rate_table(comparison),
        soups=soup_table(comparison),
        left_out=sections.left_out(comparison),
        examples=with_thumbnails(sections.examples(comparison), comparison),
        samples=sample_table(entries, comparison),
        how_written=how_written(comparison),
        forgotten=forgotten_lines(comparison),
        drawn=drawn_sections(comparison, comparison.get("drawn") or {}),
        runs=sections.run_rows(comparison),
        environment=sections.environment_lines(comparison),
        recipe=sections.recipe_text(comparison["recipe"]),
        split_rows=sections.split_rows(comparison),
        several_seeds=any(len(entry.seeds) > 1 for entry in entries),
        metric=metric_name(comparison["metric"]),
        metric_meaning=meaning(comparison["metric"]),
        width=WIDTH,
        height=HEIGHT,
    )


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
        group: {key: plain_figure(figure) for key, figure in figures.items()}
        for group, figures in drawn.items()
        if figures
    }
    return {group: names for group, names in words.items() if names}, plain_figures
