"""The figure of a curve: the metric over the number of training rows, the law through it, other methods at its end."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from typing import TYPE_CHECKING, Any

from tunewise.report.entries import PALETTE, SYMBOLS
from tunewise.report.figures import interval, is_number, metric_name, score
from tunewise.report.plots import base_layout, label, log_ticks

if TYPE_CHECKING:
    from plotly.graph_objects import Figure

APART = 1.05
"""By how much the methods on all rows stand to the right of one another."""


def curve_figure(content: Mapping[str, Any]) -> Figure | None:
    """Points with their intervals, single seeds, the fitted law with its band (dashed beyond what was measured), and
    the other methods on all rows. None where nothing has a result."""
    import plotly.graph_objects as go

    figure = go.Figure(layout=base_layout(height=500))
    now = content["shares"][-1]["rows"]
    drawing = [curve["name"] for curve in content["curves"]]
    for place, curve in enumerate(content["curves"]):
        points = [point for point in curve["points"] if is_number(point["mean"])]
        colour, symbol = PALETTE[place % len(PALETTE)], SYMBOLS[place % len(SYMBOLS)]
        if curve["law"]:
            _draw_law(figure, curve, now, colour)
        _draw_seeds(figure, points, colour)
        _draw_points(
            figure,
            [point["rows"] for point in points],
            points,
            label(curve["name"]),
            {"color": colour, "symbol": symbol, "size": 9},
            [
                f"<b>{label(curve['name'])}</b>, {point['rows']:,} rows ({point['share']:.3g} of all)"
                for point in points
            ],
        )
    others = [method for method in content["methods"] if method["method"] not in drawing and is_number(method["mean"])]
    for place, method in enumerate(others, start=len(drawing)):
        name = label(method["method"])
        marker = {"color": PALETTE[place % len(PALETTE)], "symbol": "diamond", "size": 11}
        place_x = now * APART ** (place - len(drawing) + 1)
        _draw_points(figure, [place_x], [method], name, marker, [f"<b>{name}</b>, all {now:,} rows"])
    if not figure.data:
        return None
    sizes = [point["rows"] for curve in content["curves"] for point in curve["points"]]
    ticks = log_ticks([*sizes, 2 * now])
    figure.update_xaxes(
        type="log", title_text="training rows (log scale)", tickvals=ticks, ticktext=[f"{tick:,.0f}" for tick in ticks]
    )
    figure.update_yaxes(title_text=f"{metric_name(content['metric'])} on test")
    figure.update_layout(showlegend=True)
    return figure


def _draw_law(figure: Figure, curve: Mapping[str, Any], now: int, colour: str) -> None:
    line = [point for point in curve["law"]["line"] if all(is_number(value) for value in point)]
    rows, values, lows, highs = zip(*line, strict=True) if line else ((), (), (), ())
    figure.add_scatter(
        x=[*rows, *rows[::-1]],
        y=[*highs, *lows[::-1]],
        fill="toself",
        fillcolor=f"rgba({', '.join(str(int(colour[at : at + 2], 16)) for at in (1, 3, 5))}, 0.12)",
        line={"width": 0},
        hoverinfo="skip",
        showlegend=False,
        name=f"interval of the law of {label(curve['name'])}",
    )
    measured = [(x, y) for x, y in zip(rows, values, strict=True) if x <= now]
    beyond = [*measured[-1:], *((x, y) for x, y in zip(rows, values, strict=True) if x > now)]
    for points, dash in ((measured, "solid"), (beyond, "dash")):
        figure.add_scatter(
            x=[x for x, _ in points],
            y=[y for _, y in points],
            mode="lines",
            line={"width": 1.8, "color": colour, "dash": dash},
            hoverinfo="skip",
            showlegend=False,
            name=f"law of {label(curve['name'])}",
        )


def _draw_seeds(figure: Figure, points: Sequence[Mapping[str, Any]], colour: str) -> None:
    spots = [(point["rows"], value) for point in points if len(point["seeds"]) > 1 for value in point["seeds"]]
    figure.add_scatter(
        x=[x for x, _ in spots],
        y=[y for _, y in spots],
        mode="markers",
        marker={"color": colour, "size": 4},
        opacity=0.45,
        hoverinfo="skip",
        showlegend=False,
        name="single seeds",
    )


def _draw_points(
    figure: Figure,
    xs: Sequence[float],
    points: Sequence[Mapping[str, Any]],
    name: str,
    marker: Mapping[str, Any],
    titles: Sequence[str],
) -> None:
    ends = [
        (point["low"], point["high"])
        if is_number(point["low"]) and is_number(point["high"])
        else (point["mean"], point["mean"])
        for point in points
    ]
    figure.add_scatter(
        x=list(xs),
        y=[point["mean"] for point in points],
        error_y={
            "type": "data",
            "symmetric": False,
            "array": [max(0.0, high - point["mean"]) for (_, high), point in zip(ends, points, strict=True)],
            "arrayminus": [max(0.0, point["mean"] - low) for (low, _), point in zip(ends, points, strict=True)],
            "color": marker["color"],
            "thickness": 1.2,
            "width": 0,
        },
        mode="markers",
        marker=dict(marker),
        hovertext=[
            f"{title}<br>{score(point['mean'])} ({interval(point['low'], point['high'])})"
            for title, point in zip(titles, points, strict=True)
        ],
        hoverinfo="text",
        name=name,
    )
