"""What a report says of a cross-validation: all rows, costs of a fold, and that no model is the one to use."""

from __future__ import annotations

from comparison_samples import comparison

from tunewise.report.contents import Comparison
from tunewise.report.entries import entries_of
from tunewise.report.html import render_html
from tunewise.report.interval_bar import bar_of, scale_of
from tunewise.report.sections import facts, split_rows
from tunewise.report.words import advise


def in_folds(seeds: int = 2) -> Comparison:
    content = comparison(seeds=seeds)
    sizes = [{"train": 700, "validation": 150, "test": 212}, {"train": 702, "validation": 150, "test": 210}]
    content["folds"] = {"count": 2, "rows": 422, "sizes": sizes}
    for summary in content["summary"]:
        summary["seeds"] = [summary["mean"]] * (1 if summary["kind"] == "baseline" else seeds)
    for run in content["runs"]:
        run["fold"] = 1
    return content


def test_the_advice_is_of_all_rows_and_leads_to_a_model() -> None:
    advice = advise(in_folds())
    assert "on all 422 rows, each tested once in 2 folds" in advice.lead and "per fold" in advice.lead
    (use,) = [point for point in advice.points if point.topic == "To use it"]
    assert "tunewise train" in use.text and "data.folds=null" in use.text
    assert not [point for point in advise(comparison()).points if point.topic == "To use it"]
    assert "per fold" not in advise(comparison()).lead


def test_one_seed_in_many_folds_is_one_seed() -> None:
    assert "One seed" in {point.topic for point in advise(in_folds(seeds=1)).points}
    assert "One seed" not in {point.topic for point in advise(in_folds()).points}


def test_rows_of_splits_and_seeds_are_those_of_folds() -> None:
    content = in_folds()
    assert dict(facts(content))["rows"] == "422, each tested once in 2 folds"
    assert split_rows(content) == [
        ("rows", "422, each tested once in 2 folds"),
        ("train of a fold", "700 to 702 rows"),
        ("validation of a fold", "150 rows"),
        ("test of a fold", "210 to 212 rows"),
    ]
    entries = entries_of(content)
    scale = scale_of(entries, True)
    assert {len(bar_of(entry, scale).seeds) for entry in entries if entry.kind == "method"} == {2}
    page = render_html(content)
    assert "<th>Fold</th>" in page and "Costs are those of one fold" in page
    assert "<th>Fold</th>" not in render_html(comparison())
