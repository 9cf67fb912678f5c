"""The page: complete in itself, safe with any text, right in its figures."""

from __future__ import annotations

import base64
import hashlib
import json
from html.parser import HTMLParser
from typing import Any

import comparison_samples as samples
import pytest

from tunewise.report.html import render_html

VOID = {"meta", "br", "img", "link", "input", "line", "circle", "path"}


class Page(HTMLParser):
    """Elements with their attributes, and the texts outside scripts and styles; complains of wrong nesting."""

    def __init__(self, source: str):
        super().__init__(convert_charrefs=True)
        self.open: list[str] = []
        self.elements: list[tuple[str, dict[str, str | None]]] = []
        self.texts: list[str] = []
        self.data: dict[str, list[str]] = {"script": [], "style": []}
        self.feed(source)
        self.close()
        assert self.open == []

    def handle_starttag(self, tag: str, attrs: list[tuple[str, str | None]]) -> None:
        self.elements.append((tag, dict(attrs)))
        if tag not in VOID:
            self.open.append(tag)

    def handle_endtag(self, tag: str) -> None:
        assert self.open and self.open.pop() == tag

    def handle_startendtag(self, tag: str, attrs: list[tuple[str, str | None]]) -> None:
        self.elements.append((tag, dict(attrs)))

    def handle_data(self, data: str) -> None:
        self.data.get(self.open[-1] if self.open else "", self.texts).append(data)

    @property
    def text(self) -> str:
        return " ".join(" ".join(self.texts).split())

    @property
    def figures(self) -> dict[str, Any]:
        return json.loads(self.data["script"][0])


@pytest.fixture(scope="module")
def comparison() -> dict[str, Any]:
    return samples.comparison(
        tests=("test", "new_region"),
        failed=(("adapter", 1), ("gradual", 0), ("gradual", 1), ("gradual", 2)),
        interrupted=(("last_k(layers=2)", 2),),
    )


@pytest.fixture(scope="module")
def source(comparison: dict[str, Any]) -> str:
    return render_html(comparison)


@pytest.fixture(scope="module")
def page(source: str) -> Page:
    return Page(source)


def test_nothing_is_loaded_from_anywhere(page: Page, source: str) -> None:
    for tag, attributes in page.elements:
        assert tag not in ("link", "iframe", "object", "embed", "base", "form", "img")
        assert not attributes.keys() & {"src", "href", "action", "srcset", "data"}
    policy = next(each["content"] for _, each in page.elements if each.get("http-equiv") == "Content-Security-Policy")
    scripts = [hashlib.sha256(text.encode()).digest() for text in page.data["script"][1:]]
    named = " ".join(f"'sha256-{base64.b64encode(digest).decode()}'" for digest in scripts)
    assert len(scripts) == 2 and f"; script-src {named}; img-src data:; " in policy
    assert policy.startswith("default-src 'none'; style-src 'unsafe-inline'; ")
    assert source.count("plotly.js v") == 1
    assert "@import" not in "".join(page.data["style"]) and "url(" not in "".join(page.data["style"])


def test_no_element_has_an_event_handler(page: Page) -> None:
    assert not [name for _, attributes in page.elements for name in attributes if name.startswith("on")]


def test_the_table_shows_every_entry_with_its_scores_and_errors(page: Page, comparison: dict[str, Any]) -> None:
    for summary in comparison["summary"]:
        assert summary["method"] in page.text
        if summary["mean"] is not None:
            assert f"{summary['mean']:.3f}" in page.text
            assert f"{summary['low']:.3f} to {summary['high']:.3f}" in page.text
    for words in (
        "baseline",
        "control",
        "failed",
        "2 of 3 finished",
        "the loss was NaN at step 12",
        "stopped by the user",
        "recommended",
        "new_region",
        "no text in rows 14, 97, 203",
        "torch 2.13.0",
        "17.2 GB",
    ):
        assert words in page.text
    assert comparison["data"]["fingerprint"] in page.text


def test_the_recipe_on_the_page_is_the_recipe(page: Page, comparison: dict[str, Any]) -> None:
    import yaml

    written = next(text for text in page.texts if text.startswith("model: sentence-transformers"))
    assert yaml.safe_load(written) == comparison["recipe"]


def test_methods_that_were_left_out_are_told_with_the_reason(comparison: dict[str, Any], page: Page) -> None:
    assert "Methods left out" not in page.text
    entry = {"method": "a", "model": "m", "reason": "the method 'a' is for <b>images</b>s"}
    told = Page(render_html({**comparison, "left_out": [entry, {**entry, "model": "n"}]})).text
    assert "Methods left out" in told and told.count("the method 'a' is for <b>images</b>s") == 1


def test_disagreements_show_text_truth_and_votes(page: Page, comparison: dict[str, Any]) -> None:
    row = comparison["disagreements"][0]
    assert f"row {row['row']}" in page.text and row["text"] in page.text
    votes = [name for name, label in row["decisions"].items() if label == row["truth"]]
    if votes:
        assert f"{row['truth']} {', '.join(votes)}" in page.text


def test_every_group_of_figures_has_its_choices(page: Page) -> None:
    offered = {}
    for tag, attributes in page.elements:
        if tag == "input":
            offered.setdefault(attributes["name"], []).append(attributes["value"])
    assert list(page.figures["cost"]) == offered["choose-cost"]
    assert list(page.figures["curves"]) == offered["choose-curves"] == ["metric", "validation_loss", "train_loss"]
    assert sum(tag == "option" for tag, _ in page.elements) == len(page.figures["confusion"]) == 10


@pytest.mark.parametrize(
    "options",
    [
        {"methods": ("full",), "baselines": (), "seeds": 1},
        {"methods": ("full", "lora"), "baselines": (), "seeds": 1, "failed": (("full", 0), ("lora", 0))},
        {"task": "regression", "metric": "rmse", "labels": (), "baselines": ("mean", "tfidf"), "rows": 60},
        {"labels": tuple(f"class {number}" for number in range(77)), "methods": ("full", "head"), "rows": 160},
        {"task": "multilabel", "methods": ("full", "head"), "rows": 60},
        {"labels": ("spam", "ham"), "methods": ("full", "head"), "rows": 60, "metric": "f1"},
    ],
    ids=["one-run", "all-failed", "regression", "77-classes", "multi-label", "binary"],
)
def test_other_shapes_of_comparison(options: dict[str, Any]) -> None:
    whole = samples.comparison(**options)
    page = Page(render_html(whole))
    assert ("figures" in str(page.elements)) == bool(whole["recommendation"])
    labels = options.get("labels", samples.INTENTS)
    drawn = page.figures if whole["recommendation"] else {}
    assert ("confusion" in drawn) == (options.get("task") is None and 0 < len(labels) <= 20 and bool(drawn))
    assert ("Most frequent confusions of" in page.text) == (options.get("task") is None and bool(drawn))


def test_hostile_text_is_shown_and_never_run() -> None:
    whole = samples.hostile()
    source = render_html(whole)
    page = Page(source)
    assert [tag for tag, _ in page.elements].count("script") == 3 and "img" not in [tag for tag, _ in page.elements]
    assert not [name for _, attributes in page.elements for name in attributes if name.startswith("on")]
    assert "<script>alert" not in source
    assert "<script>alert(1)</script><img src=x onerror=alert(2)>\"'&</style>\\x1b[31m\\u202e{{7*7}}" in page.text
    assert "\x1b" not in source and "\u202e" not in page.text
    figures = json.dumps(page.figures)
    assert "<script" not in figures and "<img" not in figures and "&lt;script&gt;alert(1)" in figures
    assert page.text.startswith("tunewise: Take <script>")


def test_the_same_comparison_gives_the_same_page(comparison: dict[str, Any], source: str) -> None:
    assert render_html(json.loads(json.dumps(comparison))) == source
