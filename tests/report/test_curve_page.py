"""A curve in words and on its page: only as sure as its intervals, complete in itself, safe with any text."""

from __future__ import annotations

import base64
import copy
import hashlib
import io
import json
import re
from typing import Any

import pytest
from rich.console import Console

from tunewise.report.curve_page import render_curve
from tunewise.report.curve_plot import curve_figure
from tunewise.report.curve_table import print_curve
from tunewise.report.curve_words import advise_curve


def gain(value: float, low: float, high: float, **more: Any) -> dict[str, Any]:
    return {"gain": value, "low": low, "high": high, **more}


def content(**changes: Any) -> dict[str, Any]:
    """Three sizes of features, lora and full on all rows: full is ahead of twice the rows."""
    points = [
        {"share": share, "rows": rows, "name": "features", "runs": 2, "finished": 2, "mean": mean, "sd": 0.01}
        | {"low": mean - 0.02, "high": mean + 0.02, "seeds": [mean - 0.005, mean + 0.005], "train_seconds": 1.5}
        for share, rows, mean in ((0.25, 250, 0.7), (0.5, 500, 0.75), (1.0, 1000, 0.79))
    ]
    law = {"a": 0.05, "b": 1.0, "c": 0.3, "p": 0.6, "extrapolates": True, "why": None}
    law["back_test"] = {
        "from_rows": 500,
        "to_rows": 1000,
        "foretold": 0.792,
        "measured": 0.79,
        "low": -0.01,
        "high": 0.01,
    }
    law["back_test"]["holds"] = True
    law["twice"] = gain(0.013, 0.004, 0.022, from_rows=1000, to_rows=2000)
    law["line"] = [[250, 0.7, 0.68, 0.72], [1000, 0.79, 0.77, 0.81], [2000, 0.803, 0.78, 0.83]]
    run = {"id": "x", "name": "features", "method": "features", "model": "folder/m", "seed": 0, "kind": "method"}
    run |= {"status": "finished", "scores": {"test": {"accuracy": {"value": 0.79, "low": 0.7, "high": 0.8}}}}
    run |= {"validation": {}, "costs": {"total_seconds": 3.0}, "marginal": {"total_seconds": 1.0}, "plan": []}
    run |= {"curve": [], "confusion": {}, "folder": "runs/x", "error": None, "warnings": [], "share": None}
    method = {"seeds": 2, "sd": 0.01, "kind": "method", "train_seconds": 20.0}
    return {
        "format": 1,
        "created": "2026-01-01T00:00:00+00:00",
        "recipe": {"data": {"train": "a.csv"}, "model": "m"},
        "metric": "accuracy",
        "greater_is_better": True,
        "confidence": 0.95,
        "data": {
            "fingerprint": "f",
            "rows": {"train": 1000, "validation": 100, "test": 200},
            "schema": {"task": "classification", "text": ["t"], "label": "l", "labels": ["a", "b"]},
            "steps": [{"name": "read", "rows_in": 1300, "rows_out": 1300, "reason": "a.csv"}],
        },
        "environment": {"python": "3.11"},
        "shares": [{"share": share, "rows": rows} for share, rows in ((0.25, 250), (0.5, 500), (1.0, 1000))],
        "runs": [run, {**run, "seed": 1}],
        "left_out": [],
        "curves": [
            {
                "name": "features",
                "points": points,
                "law": law,
                "why_no_law": None,
                "doubling": gain(0.04, 0.03, 0.05, from_rows=500, to_rows=1000),
            }
        ],
        "methods": [
            {"method": "features", "mean": 0.79, "low": 0.77, "high": 0.81, "validation": 0.8, **method},
            {"method": "full", "mean": 0.82, "low": 0.8, "high": 0.84, "validation": 0.83, **method},
        ],
        "pairs": [],
        "question": {
            "drawing": "features",
            "method": "full",
            "method_gain": gain(0.031, 0.02, 0.041, p_adjusted=0.001, distinguishable=True),
            "more": {"difference": 0.018, "low": 0.005, "high": 0.03, "says": "method"},
        },
        **changes,
    }


def test_the_method_is_ahead() -> None:
    advice = advise_curve(content())
    assert advice.headline == "Take full: that helps more than twice the rows would."
    assert advice.lead == (
        "Twice as many training rows (2,000) would probably bring +1.3 points (0.4 to 2.2) of accuracy to features. "
        "full brings +3.1 points (2.0 to 4.1) today, on the rows there are. "
        "The method is ahead by 1.8 points (0.5 to 3.0)."
    )
    assert [point.topic for point in advice.points] == ["The last doubling", "Looking back"]
    assert advice.points[0].text == "From 500 rows to 1,000, features gained +4.0 points (3.0 to 5.0), measured."
    assert "foretold 0.792 for features on 1,000; measured: 0.790, as it may" in advice.points[1].text


def changed(**parts: Any) -> dict[str, Any]:
    """The content with parts of the question or of the law changed."""
    made = copy.deepcopy(content())
    for key, value in parts.items():
        (made["question"] if key in made["question"] else made["curves"][0]["law"])[key] = value
    return made


def test_rows_are_ahead() -> None:
    more = {"difference": -0.02, "low": -0.03, "high": -0.01, "says": "rows"}
    advice = advise_curve(changed(more=more))
    assert advice.headline == "More rows would help more than full does."
    assert "More rows are ahead by 2.0 points (1.0 to 3.0)." in advice.lead


def test_what_the_intervals_do_not_tell_is_not_told() -> None:
    more = {"difference": 0.001, "low": -0.01, "high": 0.012, "says": "unclear"}
    advice = advise_curve(changed(more=more))
    assert advice.headline == "More rows or full: which would help more cannot be told."
    assert "inside the interval of their difference (−1.0 to 1.2)" in advice.lead
    ahead = advise_curve(changed(more={**more, "low": 0.001})).lead
    assert "may be ahead (0.1 to 1.2); its own gain is not certain" in ahead
    chance = gain(0.004, -0.005, 0.013, p_adjusted=0.4, distinguishable=False)
    told = advise_curve(changed(method_gain=chance, more=more)).lead
    assert "full stands at +0.4 points (−0.5 to 1.3) today, a difference that chance may have made" in told
    worse = gain(-0.02, -0.03, -0.01, p_adjusted=0.001, distinguishable=True)
    assert "full is worse: −2.0 points (−3.0 to −1.0) today" in advise_curve(changed(method_gain=worse, more=more)).lead
    nothing = advise_curve(changed(twice=gain(0.004, 0.0, 0.012, from_rows=1000, to_rows=2000))).lead
    assert "might bring nothing to features, and at most +1.2 points accuracy" in nothing


def test_a_law_that_does_not_fit_foretells_nothing() -> None:
    advice = advise_curve(
        changed(twice=None, extrapolates=False, why="no power law goes through these points", more=None)
    )
    assert advice.headline == "Take full; what more rows would bring cannot be told."
    assert "is not foretold: no power law goes through these points." in advice.lead
    assert "Twice as many" not in advice.lead
    assert [point.topic for point in advice.points if point.warning] == ["No forecast"]


def test_without_another_method_only_rows_are_told() -> None:
    advice = advise_curve(changed(method=None, method_gain=None, more=None))
    assert advice.headline == "Twice the rows would probably bring +1.3 points."
    assert "names no other method" in advice.lead


def test_nothing_finished() -> None:
    made = content(question=None, methods=[], pairs=[])
    for point in made["curves"][0]["points"]:
        point.update(mean=None, sd=None, low=None, high=None, seeds=[], finished=0)
    made["curves"][0].update(law=None, why_no_law="not all runs on all rows have finished", doubling=None)
    assert "No run on all rows has a result yet" in advise_curve(made).headline
    assert "0 of 2 seeds" in render_curve(made)


def test_the_terminal_shows_the_same_within_100_columns() -> None:
    console = Console(file=io.StringIO(), width=100, highlight=False)
    print_curve(content(), console)
    text = console.file.getvalue()
    assert max(len(line.rstrip()) for line in text.splitlines()) <= 100
    flat = re.sub(r"\s+", " ", text)
    assert advise_curve(content()).lead in flat
    assert "25% 250 0.700 (0.680 to 0.720)" in flat and "0.05 + 1 n^−0.30" in flat


def test_the_figure_draws_what_was_measured_and_what_is_foretold() -> None:
    figure = curve_figure(content())
    traces = {trace.name: trace for trace in figure.data}
    assert list(traces["features"].x) == [250, 500, 1000] and list(traces["features"].y) == [0.7, 0.75, 0.79]
    assert traces["features"].error_y.array == pytest.approx([0.02] * 3)
    laws = [trace for trace in figure.data if trace.name == "law of features"]
    assert [(trace.line.dash, list(trace.x)) for trace in laws] == [("solid", [250, 1000]), ("dash", [1000, 2000])]
    assert list(traces["full"].y) == [0.82] and traces["full"].x[0] > 1000
    assert len(traces["single seeds"].x) == 6


def test_the_page_runs_only_its_own_scripts_and_hostile_names_never() -> None:
    evil = "<script>alert(1)</script>\x1b[31m"
    made = content()
    made["question"]["method"] = made["methods"][1]["method"] = evil
    made["curves"][0]["name"] = made["question"]["drawing"] = made["methods"][0]["method"] = f"{evil}2"
    page = render_curve(made)
    policy = re.search(r'Content-Security-Policy" content="([^"]*)"', page).group(1).replace("&#39;", "'")
    scripts = re.findall(r"<script>(.*?)</script>", page, flags=re.S)
    assert len(scripts) == 2 and "default-src 'none'" in policy
    for script in scripts:
        assert f"sha256-{base64.b64encode(hashlib.sha256(script.encode()).digest()).decode()}" in policy
    assert "alert(1)" not in re.sub(r"&lt;script&gt;alert\(1\)", "", page.split('id="figures"')[0])
    figures = json.loads(re.search(r'id="figures">(.*?)</script>', page, flags=re.S).group(1))
    assert "<script" not in json.dumps(figures) and "\x1b" not in page
    console = Console(file=io.StringIO(), width=100)
    print_curve(made, console)
    assert "\x1b" not in console.file.getvalue()
