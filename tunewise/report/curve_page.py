"""The page of a curve, and what stands in its tables: the same as in the terminal."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any

from tunewise.report import sections
from tunewise.report.curve_plot import curve_figure
from tunewise.report.curve_words import advise_curve, gain_words
from tunewise.report.figures import interval, is_number, metric_name, plain, score, seconds
from tunewise.report.page import plain_figure, render_page

Content = Mapping[str, Any]


def render_curve(content: Content) -> str:
    """The page as text."""
    figure = curve_figure(content)
    return render_page(
        "curve.html.j2",
        {"curve": {"curve": plain_figure(figure)}} if figure else {},
        content=content,
        advice=advise_curve(content),
        facts=sections.facts(content),
        heads=[plain(curve["name"], 60) for curve in content["curves"]],
        sizes=size_rows(content),
        laws=law_rows(content),
        methods=method_rows(content),
        runs=sections.run_rows(content),
        environment=sections.environment_lines(content),
        recipe=sections.recipe_text(content["recipe"]),
        metric=metric_name(content["metric"]),
    )


def size_rows(content: Content) -> list[dict[str, Any]]:
    """A row for each share: how many rows it has, and each curve's mean, interval and seeds."""
    rows = []
    for place, size in enumerate(content["shares"]):
        points = [curve["points"][place] for curve in content["curves"]]
        cells = [
            {
                "score": score(point["mean"]),
                "interval": interval(point["low"], point["high"]),
                "sd": score(point["sd"]) if is_number(point["sd"]) else "",
                "done": "" if point["finished"] == point["runs"] else f"{point['finished']} of {point['runs']} seeds",
            }
            for point in points
        ]
        rows.append({"share": f"{100 * size['share']:.3g}%", "rows": f"{size['rows']:,}", "cells": cells})
    return rows


def law_rows(content: Content) -> list[dict[str, str]]:
    """A row for each curve: the law, how well it goes through the points, and what it says of twice the rows."""
    rows = []
    for curve in content["curves"]:
        law, metric = curve["law"], content["metric"]
        told = gain_words(law["twice"], metric) if law and law["twice"] else "not foretold"
        rows.append(
            {
                "name": plain(curve["name"], 60),
                "law": f"{law['a']:.3g} + {law['b']:.3g} n^−{law['c']:.2f}" if law else "–",
                "p": score(law["p"]) if law else "–",
                "doubling": gain_words(curve["doubling"], metric) if curve["doubling"] else "–",
                "twice": told,
            }
        )
    return rows


def method_rows(content: Content) -> list[dict[str, str]]:
    """A row for each method on all rows, best on validation first."""
    sign = -1 if content["greater_is_better"] else 1

    def order(method: Content) -> float:
        return sign * method["validation"] if is_number(method["validation"]) else float("inf")

    return [
        {
            "name": plain(method["method"], 60),
            "score": score(method["mean"]),
            "interval": interval(method["low"], method["high"]),
            "validation": score(method["validation"]),
            "seconds": seconds(method["train_seconds"]),
        }
        for method in sorted(content["methods"], key=order)
    ]
