"""The page's figures, made with plotly: quality against cost, learning curves, confusion matrices.

Colours of axes and text are left to the page, which knows whether it is light or dark. Labels come from users' files:
plotly reads a subset of HTML in every text, so each is escaped, and none is put in a template.
"""

from __future__ import annotations

import html
import math
from collections import defaultdict
from collections.abc import Sequence
from statistics import fmean
from typing import TYPE_CHECKING, Any

from tunewise.report.contents import Comparison, Run
from tunewise.report.entries import BLIND, Entry, pareto
from tunewise.report.figures import COSTS, count, interval, is_number, metric_name, plain, score
from tunewise.report.interval_bar import scale_of

if TYPE_CHECKING:
    from plotly.graph_objects import Figure

CURVES = {
    "metric": "validation",
    "validation_loss": "validation loss",
    "train_loss": "training loss",
    "rounds.reward": "reward in training",
    "rounds.kl": "KL in training (nats per answer)",
    "rounds.entropy": "entropy in training (nats per token)",
    "rounds.length": "length in training (tokens)",
}
"""What can be drawn: of each validation, or of the steps of a training that learns from its own answers."""


def label(text: Any, limit: int = 40) -> str:
    """Text as plotly may draw it: cut, without control characters, with its HTML escaped."""
    return html.escape(plain(text, limit), quote=False)


def quality_against_cost(entries: Sequence[Entry], comparison: Comparison, cost_name: str) -> Figure:
    """Each entry's score with its interval over a cost on a log axis, and the Pareto front as a stepped line."""
    import plotly.graph_objects as go

    words, write = COSTS[cost_name]
    metric, greater = comparison["metric"], comparison["greater_is_better"]
    scale = scale_of(entries, greater)
    costed = [entry for entry in entries if entry.has(cost_name)]
    shown = [entry for entry in costed if entry.method not in BLIND and not scale.outside(entry.mean)]
    front = [entry for entry in pareto(entries, cost_name, greater) if entry in shown]
    figure = go.Figure(layout=base_layout(height=470))
    figure.add_scatter(
        x=[entry.cost(cost_name) for entry in front],
        y=[entry.mean for entry in front],
        mode="lines",
        line={"shape": "hv", "width": 1.5, "dash": "dot", "color": "#868e96"},
        hoverinfo="skip",
        name="Pareto front",
    )
    spots = _label_spots(shown, cost_name)
    for entry, spot in zip(shown, spots, strict=True):
        ends = (entry.low, entry.high) if is_number(entry.low) and is_number(entry.high) else (entry.mean, entry.mean)
        figure.add_scatter(
            x=[entry.cost(cost_name)],
            y=[entry.mean],
            error_y={
                "type": "data",
                "symmetric": False,
                "array": [max(0.0, ends[1] - entry.mean)],
                "arrayminus": [max(0.0, entry.mean - ends[0])],
                "color": entry.colour,
                "thickness": 1.2,
                "width": 0,
            },
            mode="markers+text",
            marker={
                "color": entry.colour,
                "symbol": entry.symbol if entry in front else f"{entry.symbol}-open",
                "size": 15 if entry.chosen else 10,
                "line": {"width": 2, "color": entry.colour},
            },
            text=[f"<b>{label(entry.name, 32)}</b>" if entry.chosen else label(entry.name, 32)],
            textposition=spot,
            textfont={"size": 12},
            cliponaxis=False,
            hovertext=[
                f"<b>{label(entry.name)}</b><br>{metric_name(metric)} {score(entry.mean)}"
                f" ({interval(entry.low, entry.high)})<br>{words}: {write(entry.cost(cost_name))}"
            ],
            hoverinfo="text",
            showlegend=False,
            name=label(entry.name),
        )
    ticks = log_ticks([entry.cost(cost_name) for entry in shown])
    figure.update_xaxes(
        type="log", title_text=f"{words} (log scale)", tickvals=ticks, ticktext=[write(tick) for tick in ticks]
    )
    room = 0.08 * (scale.high - scale.low) or 0.05
    figure.update_yaxes(title_text=f"{metric_name(metric)} on test", range=[scale.low - room, scale.high + room])
    if outside := [entry for entry in costed if entry not in shown]:
        names = ", ".join(f"{label(entry.name, 24)} {score(entry.mean)}" for entry in outside)
        figure.add_annotation(
            text=f"not drawn: {names}",
            xref="paper",
            yref="paper",
            x=1,
            y=0 if greater else 1,
            xanchor="right",
            yanchor="bottom" if greater else "top",
            showarrow=False,
            font={"size": 12},
        )
    return figure


def _label_spots(entries: Sequence[Entry], cost_name: str) -> list[str]:
    """Where to put each label so that it covers neither a point nor an earlier label, judged on a 900 x 400 canvas."""
    if not entries:
        return []
    xs = [math.log10(entry.cost(cost_name)) for entry in entries]
    ys = [entry.mean for entry in entries]
    wide, high = (max(xs) - min(xs)) or 1.0, (max(ys) - min(ys)) or 1.0
    points = [((x - min(xs)) / wide * 900, (max(ys) - y) / high * 400) for x, y in zip(xs, ys, strict=True)]
    taken = [(x - 8, y - 8, x + 8, y + 8) for x, y in points]
    spots = []
    for entry, (x, y) in zip(entries, points, strict=True):
        length = 7 * min(len(entry.name), 32)
        boxes = {
            "middle right": (x + 9, y - 8, x + 9 + length, y + 8),
            "middle left": (x - 9 - length, y - 8, x - 9, y + 8),
            "top right": (x, y - 25, x + length, y - 9),
            "bottom right": (x, y + 9, x + length, y + 25),
            "top left": (x - length, y - 25, x, y - 9),
            "bottom left": (x - length, y + 9, x, y + 25),
        }
        spot = min(boxes, key=lambda name: sum(_overlap(boxes[name], other) for other in taken) + _beyond(boxes[name]))
        taken.append(boxes[spot])
        spots.append(spot)
    return spots


def _overlap(a: tuple[float, ...], b: tuple[float, ...]) -> float:
    return max(0.0, min(a[2], b[2]) - max(a[0], b[0])) * max(0.0, min(a[3], b[3]) - max(a[1], b[1]))


def _beyond(box: tuple[float, ...]) -> float:
    """How far a label leaves the canvas (the axis range has some room beyond the outermost points)."""
    return 16 * (max(0.0, -40 - box[0]) + max(0.0, box[2] - 940))


def log_ticks(values: Sequence[float]) -> list[float]:
    """Round numbers for a log axis: 1, 10, 100 over a wide span, 1, 2, 5, 10 over a narrow one."""
    if not values:
        return []
    low, high = math.floor(math.log10(min(values))), math.ceil(math.log10(max(values)))
    steps = (1,) if high - low > 3 else (1, 2, 5)
    return [step * 10.0**power for power in range(low - 1, high + 1) for step in steps]


def learning_curves(entries: Sequence[Entry], comparison: Comparison, what: str) -> Figure | None:
    """One line per entry: the mean over seeds (and folds), thin lines for each. None where nothing was measured."""
    import plotly.graph_objects as go

    figure = go.Figure(layout=base_layout(height=420))
    for place, entry in enumerate(entries):
        lines = []
        for run in entry.runs:
            points = _points(run, what)
            if points:
                lines.append((run, points))
        if not lines:
            continue
        if len(lines) > 1:
            for run, points in lines:
                figure.add_scatter(
                    x=[x for x, _ in points],
                    y=[y for _, y in points],
                    mode="lines",
                    line={"width": 1, "color": entry.colour},
                    opacity=0.3,
                    hoverinfo="skip",
                    showlegend=False,
                    legendgroup=str(place),
                    name=f"{label(entry.name)}, {_run_words(run)}",
                )
        mean = _mean_line([points for _, points in lines])
        figure.add_scatter(
            x=[x for x, _ in mean],
            y=[y for _, y in mean],
            mode="lines+markers" if len(mean) < 40 else "lines",
            line={"width": 2.2, "color": entry.colour, "dash": "dash" if entry.kind == "control" else "solid"},
            marker={"size": 6, "symbol": entry.symbol},
            legendgroup=str(place),
            name=label(entry.name),
            hovertext=[f"<b>{label(entry.name)}</b><br>epoch {x:.3g}: {score(y)}" for x, y in mean],
            hoverinfo="text",
        )
    if not figure.data:
        return None
    words = f"{metric_name(comparison['metric'])} on validation" if what == "metric" else CURVES[what]
    figure.update_xaxes(title_text="epoch")
    figure.update_yaxes(title_text=words)
    figure.update_layout(showlegend=True)
    return figure


def _points(run: Run, what: str) -> list[tuple[float, float]]:
    """Epoch and value, wherever it was measured."""
    of_rounds, name = what.startswith("rounds."), what.removeprefix("rounds.")
    found = (run.get("rounds") or {}).get("steps") if of_rounds else run["curve"]
    return [(point["epoch"], point[name]) for point in found or () if is_number(point.get(name))]


def _run_words(run: Run) -> str:
    return f"seed {run['seed']}" + (f", fold {run['fold']}" if "fold" in run else "")


def _mean_line(lines: Sequence[Sequence[tuple[float, float]]]) -> list[tuple[float, float]]:
    """The mean at each epoch that at least half of the lines have: a mean over fewer would jump."""
    at: dict[float, list[float]] = defaultdict(list)
    for points in lines:
        for x, y in points:
            at[x].append(y)
    return [(x, fmean(ys)) for x, ys in sorted(at.items()) if 2 * len(ys) >= len(lines)]


def confusion_heat_map(counts: Sequence[Sequence[int]], labels: Sequence[str]) -> Figure:
    """Rows are true classes, columns decisions; colour is the share of the true class, text the count."""
    import plotly.graph_objects as go

    shares = [[cell / (sum(row) or 1) for cell in row] for row in counts]
    names = _apart([label(name, 24) for name in labels])
    hover = [
        [
            f"true <b>{names[i]}</b><br>decided <b>{names[j]}</b><br>{cell} rows, {shares[i][j]:.0%} of the class"
            for j, cell in enumerate(row)
        ]
        for i, row in enumerate(counts)
    ]
    figure = go.Figure(layout=base_layout(height=max(340, 36 * len(labels) + 130)))
    figure.add_heatmap(
        z=shares,
        x=names,
        y=names,
        text=[[count(cell) if cell else "" for cell in row] for row in counts],
        texttemplate="%{text}",
        textfont={"size": 12 if len(labels) <= 12 else 10},
        hovertext=hover,
        hoverinfo="text",
        colorscale=[[0, "rgba(76,110,245,0.04)"], [1, "rgba(76,110,245,0.8)"]],
        zmin=0,
        zmax=1,
        xgap=2,
        ygap=2,
        showscale=False,
    )
    figure.update_xaxes(title_text="decided", type="category", showgrid=False, tickangle=-35 if len(labels) > 4 else 0)
    figure.update_yaxes(title_text="true class", type="category", autorange="reversed", showgrid=False)
    return figure


def _apart(names: list[str]) -> list[str]:
    """Names that cutting made equal get a number, because plotly lays equal categories on each other."""
    return [
        name if names.index(name) == place and names.count(name) == 1 else f"{name} ({place})"
        for place, name in enumerate(names)
    ]


def base_layout(height: int) -> dict[str, Any]:
    return {
        "template": "none",
        "height": height,
        "showlegend": False,
        "paper_bgcolor": "rgba(0,0,0,0)",
        "plot_bgcolor": "rgba(0,0,0,0)",
        "font": {"family": "system-ui, sans-serif", "size": 13},
        "margin": {"l": 64, "r": 24, "t": 16, "b": 56},
        "xaxis": {"automargin": True, "zeroline": False, "title": {"standoff": 14}},
        "yaxis": {"automargin": True, "zeroline": False, "title": {"standoff": 14}},
        "legend": {"orientation": "h", "y": -0.2, "yanchor": "top"},
        "hoverlabel": {"align": "left"},
    }
