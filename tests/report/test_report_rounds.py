"""What the page shows of trainings that learn from what the model writes, and of metrics without a direction."""

from __future__ import annotations

import copy
import json

import comparison_samples as samples
import pytest

from tunewise.engine.told_rounds import MOST, add_step
from tunewise.report.figures import in_points
from tunewise.report.html import render_html
from tunewise.report.metric_words import is_neutral
from tunewise.report.sections import metric_table
from tunewise.report.table import _note


def figures(step: int, seed: int) -> dict[str, float]:
    return {"reward": step / 10 + seed, "kl": step / 100, "entropy": 2.0, "clip_fraction": 0.25, "silent_groups": 0.5}


@pytest.fixture
def comparison():
    """A comparison whose methods have written in training; one of them without KL."""
    comparison = copy.deepcopy(samples.comparison())
    for run in comparison["runs"]:
        if run["kind"] == "method" and run["status"] == "finished":
            told = {}
            for step in (1, 2, 3):
                add_step(told, step, step / 3, figures(step, run["seed"]))
            if run["method"] == "head":
                del told["last"]["kl"]
            run["rounds"] = {name: told[name] for name in ("last", "steps")}
    return comparison


def test_reward_and_kl_have_curves_and_the_last_step_a_table(comparison):
    page = render_html(comparison)
    for words in ("reward in training", "KL in training (nats per answer)", "entropy in training"):
        assert words in page, words
    drawn = json.loads(page[page.index('id="figures">') + 13 :].split("</script>")[0])["curves"]
    assert {"rounds.reward", "rounds.kl", "rounds.entropy"} <= set(drawn) and "rounds.length" not in drawn
    line = next(trace for trace in drawn["rounds.kl"]["data"] if trace["name"] == "full" and trace.get("hovertext"))
    assert line["y"] == pytest.approx([0.01, 0.02, 0.03]) and line["x"] == pytest.approx([1 / 3, 2 / 3, 1])
    section = page[page.index('id="rounds"') :].split("</section>")[0]
    for words in ("clip fraction", "silent groups", "0.250", "0.500", "0.030", "–"):
        assert words in section, words
    assert "ended" not in section and "↑" not in section and 'class="best"' not in section


def test_other_comparisons_have_neither():
    page = render_html(samples.comparison())
    assert 'id="rounds"' not in page and "in training" not in page


def test_metrics_without_a_direction_have_no_best(comparison):
    entries = metric_entries({"reward": (1.0, 2.0), "kl": (0.1, 0.4), "tokens_written": (5.0, 7.0)})
    table = metric_table(entries, "reward")
    assert [head[2] for head in table["heads"]] == [True, None, None] and table["undirected"]
    assert [[cell[2] for cell in row["cells"]] for row in table["rows"]] == [[False] * 3, [True, False, False]]
    assert is_neutral("words_written") and not is_neutral("perplexity") and not is_neutral("anything")


def metric_entries(values):
    class Entry:
        def __init__(self, place):
            self.scores = {name: {"mean": both[place], "sd": None} for name, both in values.items()}

    return [Entry(0), Entry(1)]


def test_points_are_explained_only_where_they_are_used():
    shown = {"greater_is_better": True, "metric": "f1_macro"}
    assert "1 point is 0.01" in _note(shown) and "1 point" not in _note({**shown, "metric": "reward"})
    assert all(in_points(name) for name in ("preference_accuracy", "exact_match", "rougeL", "distinct_1"))
    assert not any(in_points(name) for name in ("reward", "kl", "perplexity", "bleu", "loss", "tokens_written"))


def test_data_without_labels_names_its_columns_alone(comparison):
    comparison["data"]["schema"] = {**comparison["data"]["schema"], "text": ["prompt"], "label": ""}
    page = render_html(comparison)
    assert "<dt>columns</dt><dd>prompt</dd>" in page and "text, label" not in page


def test_the_course_of_a_long_training_is_thinned_out_evenly():
    told = {}
    for step in range(1, 3 * MOST + 1):
        add_step(told, step, step / 10, {"reward": float(step)})
    steps = [entry["step"] for entry in told["steps"]]
    assert steps == list(range(1, 3 * MOST + 1, 4)) and len(steps) <= MOST
    assert told["last"] == {"step": 3 * MOST, "epoch": 3 * MOST / 10, "reward": 3.0 * MOST}
