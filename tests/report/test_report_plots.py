"""What the figures hold, read back from plotly."""

from __future__ import annotations

from typing import Any

import comparison_samples as samples
import pytest

from tunewise.report.confusion import worst_pairs
from tunewise.report.entries import entries_of, pareto
from tunewise.report.interval_bar import MARGIN, WIDTH, Scale, bar_of, scale_of
from tunewise.report.plots import confusion_heat_map, learning_curves, quality_against_cost


@pytest.fixture(scope="module")
def comparison() -> dict[str, Any]:
    return samples.comparison()


def test_points_stand_at_cost_and_score_with_their_intervals(comparison: dict[str, Any]) -> None:
    entries = entries_of(comparison)
    figure = quality_against_cost(entries, comparison, "train_seconds")
    points = {trace.name: trace for trace in figure.data[1:]}
    assert set(points) == set(samples.METHODS) - {"scratch"} | {"tfidf"}
    for summary in comparison["summary"]:
        if trace := points.get(summary["method"]):
            assert trace.x == (summary["costs"]["train_seconds"],) and trace.y == (summary["mean"],)
            assert trace.y[0] + trace.error_y.array[0] == pytest.approx(summary["high"])
            assert trace.y[0] - trace.error_y.arrayminus[0] == pytest.approx(summary["low"])
    assert figure.layout.xaxis.type == "log"
    assert next(note.text for note in figure.layout.annotations).startswith("not drawn: scratch 0.")


@pytest.mark.parametrize("greater", [True, False])
def test_nothing_beats_the_front_and_the_front_beats_the_rest(comparison: dict[str, Any], greater: bool) -> None:
    entries = entries_of(comparison)
    front = pareto(entries, "train_seconds", greater)
    sign = 1 if greater else -1

    def beats(a: Any, b: Any) -> bool:
        return a.cost("train_seconds") <= b.cost("train_seconds") and sign * a.mean >= sign * b.mean and a is not b

    candidates = [entry for entry in entries if entry.kind != "control"]
    for entry in candidates:
        assert (entry in front) == (not any(beats(other, entry) for other in candidates))
    assert [entry.cost("train_seconds") for entry in front] == sorted(entry.cost("train_seconds") for entry in front)


def test_the_thick_curve_is_the_mean_over_seeds(comparison: dict[str, Any]) -> None:
    entries = [entry for entry in entries_of(comparison) if entry.name == "lora"]
    figure = learning_curves(entries, comparison, "validation_loss")
    assert [trace.showlegend for trace in figure.data] == [False, False, False, None]
    runs = [run["curve"] for run in comparison["runs"] if run["method"] == "lora"]
    third = sum(curve[2]["validation_loss"] for curve in runs) / 3
    assert figure.data[-1].y[2] == pytest.approx(third) and figure.data[-1].x[2] == 0.75


def test_points_that_were_not_measured_are_left_out(comparison: dict[str, Any]) -> None:
    entries = [entry for entry in entries_of(comparison) if entry.name == "lora"]
    assert len(learning_curves(entries, comparison, "metric").data[-1].x) == 6
    assert (
        learning_curves([entry for entry in entries_of(comparison) if entry.name == "tfidf"], comparison, "metric")
        is None
    )


def test_the_heat_map_shows_shares_of_the_true_class() -> None:
    figure = confusion_heat_map([[3, 1], [0, 0]], ["a<b>", "c"])
    heat = figure.data[0]
    assert [list(row) for row in heat.z] == [[0.75, 0.25], [0.0, 0.0]]
    assert heat.x == ("a&lt;b&gt;", "c") and list(heat.text[0]) == ["3", "1"]
    assert "75% of the class" in heat.hovertext[0][0]


def test_labels_that_look_alike_when_cut_stay_apart() -> None:
    long = "a very long name of a class that is cut "
    names = confusion_heat_map([[1, 0, 0], [0, 1, 0], [0, 0, 1]], [long + "one", long + "two", "short"]).data[0].x
    assert len(set(names)) == 3 and names[2] == "short"


def test_the_worst_pairs_by_hand() -> None:
    found = worst_pairs([[5, 2, 1], [0, 4, 0], [3, 0, 1]], ["a", "b", "c"], at_most=2)
    assert found == [
        {"true": "c", "decided": "a", "count": "3", "share": "75%"},
        {"true": "a", "decided": "b", "count": "2", "share": "25%"},
    ]


def test_the_interval_bar_maps_values_to_pixels(comparison: dict[str, Any]) -> None:
    scale = Scale(0.5, 1.0)
    assert scale.x(0.5) == MARGIN and scale.x(1.0) == WIDTH - MARGIN and scale.x(0.75) == WIDTH / 2
    assert scale.x(0.1) == MARGIN and scale.outside(0.1) == "left" and scale.outside(0.6) == ""
    entries = entries_of(comparison)
    own = scale_of(entries, True)
    bars = {entry.name: bar_of(entry, own) for entry in entries}
    assert bars["majority"].outside == "left" and bars["full"].outside == ""
    assert bars["full"].low < bars["full"].mean < bars["full"].high and len(bars["full"].seeds) == 3
    assert scale_of([], True) is None
