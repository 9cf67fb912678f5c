"""Text from data is text wherever it is shown: in HTML, CSV, Markdown, YAML, terminals, whatever it says."""

from __future__ import annotations

import csv
import io
import json
import re
import unicodedata
from functools import cache
from html.parser import HTMLParser
from pathlib import Path
from typing import Any

import comparison_samples as samples
import pytest
import yaml
from hypothesis import HealthCheck, example, given, settings
from hypothesis import strategies as st
from typer.testing import CliRunner

from tunewise.cli import predicting
from tunewise.report.card import model_card
from tunewise.report.html import render_html
from tunewise.tracking.progress import plain_text

HOSTILE = (
    "<script>alert(1)</script>",
    "</script><script>alert(1)</script>",
    "</style><img src=x onerror=alert(1)>",
    '" onmouseover="alert(1)',
    "<!--",
    "]]>",
    "{{ 7 * 7 }}{% raw %}",
    "\x1b]0;title\x07\x1b[2J\x9b31m",
    "\u202etxt.exe\u2066",
    "---\nlicense: other\n---\n# mine",
    "`````\n</details>\n[a](javascript:alert(1))",
    '=HYPERLINK("http://x")',
    "label\r\nSet: x",
    "a: b # c",
    "!!python/object/apply:os.system [id]",
    "\ud800",
    "&lt;b&gt;",
    "%{x}<extra></extra>",
)
TEXTS = st.one_of(st.sampled_from(HOSTILE), st.text(max_size=40))
quietly = settings(
    max_examples=25,
    deadline=None,
    derandomize=True,
    database=None,
    suppress_health_check=[HealthCheck.function_scoped_fixture],
)


class Elements(HTMLParser):
    """Tags and the names of their attributes."""

    def __init__(self, source: str):
        super().__init__()
        self.seen: list[tuple[str, tuple[str, ...]]] = []
        self.feed(source)
        self.close()

    def handle_starttag(self, tag: str, attributes: list[tuple[str, str | None]]) -> None:
        self.seen.append((tag, tuple(sorted(name for name, _ in attributes))))


@cache
def usual_elements() -> frozenset[tuple[str, tuple[str, ...]]]:
    return frozenset(Elements(render_html(comparison("usual"))).seen)


def comparison(text: str) -> dict[str, Any]:
    """A comparison in which a text stands wherever users and data can put one."""
    whole = samples.comparison(methods=("full", "head"), seeds=1, labels=("a", text or "b", "c"), rows=30)
    name = json.dumps(text or "b")
    whole = json.loads(json.dumps(whole).replace('"full"', name).replace('"tfidf"', json.dumps(text + "2")))
    whole["data"]["steps"][0] |= {"name": text, "reason": text}
    whole["environment"]["cpu"] = whole["recipe"]["data"]["train"] = text
    whole["runs"][0] |= {"warnings": [text], "folder": text, "model": text}
    for row in whole["disagreements"]:
        row["text"] = text
    return whole


@settings(quietly, max_examples=12)
@given(text=TEXTS)
@example(text="".join(HOSTILE))
def test_no_text_becomes_an_element_of_the_page(text: str, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr("plotly.offline.get_plotlyjs", lambda: "/* left out */")
    source = render_html(comparison(text))
    usual, seen = usual_elements(), Elements(source).seen
    assert set(seen) <= usual | {("ul", ("class",)), ("li", ())}
    assert [tag for tag, _ in seen].count("script") == 3
    assert not re.search("[\x00-\x08\x0b-\x1f\x7f-\x9f\u202a-\u202e\u2066-\u2069]", source)
    data = re.search('<script type="application/json" id="figures">(.*?)</script>', source, re.S)[1]
    assert not re.search("[<>&]", data) and json.loads(data)


@quietly
@given(text=TEXTS)
@example(text="---\nbase_model: evil/evil")
def test_no_text_leaves_its_place_in_a_model_card(text: str) -> None:
    run = samples_record(text)
    card = model_card(run)
    front = card.split("---\n")[1]
    matter = yaml.safe_load(front)
    assert set(matter) == {"library_name", "pipeline_tag", "tags", "model-index"}
    assert front.isascii() and not re.search(r"\n---", front[:-1])
    prose = re.sub(r"^(`{3,})\w*\n.*?^\1$", "", card.split("---\n", 2)[2], flags=re.S | re.M)
    assert not re.search(r"(?<!\\)[<\[]", prose) and prose.count("\n# ") == 1
    assert not [char for char in card if unicodedata.category(char) in ("Cc", "Cs") and char != "\n"]


def samples_record(text: str) -> dict[str, Any]:
    score = {"value": 0.5, "low": 0.4, "high": 0.6}
    costs = ("train_seconds", "total_seconds", "peak_memory_bytes", "forward_flops", "backward_flops")
    counts = ("trainable_parameters", "total_parameters", "saved_bytes", "predict_ms_per_example")
    schema = {"task": "classification", "text": [text or "t"], "label": text or "l", "labels": [text, "b"]}
    return {
        "method": f"lora({text})",
        "seed": 1,
        "model": {"name": text or "m"},
        "recipe": {"data": {"train": text}, "metric": "accuracy"},
        "data": {
            "schema": schema,
            "rows": {"train": 3, text: 4},
            "steps": [{"name": text, "rows_in": 3, "rows_out": 3, "reason": text}],
            "fingerprint": text,
        },
        "environment": {"packages": {"torch": text}},
        "scores": {text: {"accuracy": score, f"entity_f1_{text}": score}},
        "costs": dict.fromkeys((*costs, *counts), 1),
        "warnings": [text],
        "plans": [],
        "handover": {"kind": "transformers"},
    }


@settings(quietly, max_examples=200)
@given(text=st.one_of(TEXTS, st.text(alphabet=" \t\r\n=+-@'\"0a;,\uff1d", max_size=8)))
def test_no_cell_of_an_export_is_a_formula(text: str) -> None:
    line = predicting.csv_line([text, "end"])
    ((cell, end),) = csv.reader(io.StringIO(line, newline=""))
    assert end == "end" and cell in (text, f"'{text}")
    begins = cell.lstrip()[:1]
    if begins and begins in "=+-@\uff1d\uff0b\uff0d\uff20":
        float(cell)  # a number is no formula
        assert cell == text
    assert cell[:1] not in ("\t", "\r", "\n")


def test_numbers_in_an_export_are_untouched() -> None:
    for value in (-1.5, "-1.5", "+3", "-2e-7", 0.25, "x", "a=b", "mail@host"):
        assert predicting._cell(value) == value
    assert predicting._cell("-1+1") == "'-1+1" and predicting._cell(" =1") == "' =1" and predicting._cell("@a") == "'@a"


@settings(quietly, max_examples=200)
@given(text=TEXTS)
def test_no_text_steers_a_terminal(text: str) -> None:
    shown = plain_text(text)
    assert not [char for char in shown if unicodedata.category(char) in ("Cc", "Cs", "Zl", "Zp")]
    assert not set(shown) & set("\u061c\u200e\u200f\u202a\u202b\u202c\u202d\u202e\u2066\u2067\u2068\u2069\ufeff")
    assert plain_text(shown) == shown
    shown.encode()


def test_a_terminal_without_unicode_shows_question_marks(tmp_path: Path) -> None:
    from tunewise.cli.main import app

    path = tmp_path / "recipe.yaml"
    path.write_text("model: ünïcode–model\ndata: {train: nowhere.csv, label: x}\n", encoding="utf-8")
    runner = CliRunner(charset="ascii")
    result = runner.invoke(app, ["train", str(path), "--method", "head", "--out", str(tmp_path / "out")])
    assert result.exit_code == 2 and isinstance(result.exception, SystemExit)
    assert b"?n?code?model" in result.stderr_bytes
