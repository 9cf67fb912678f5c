"""The page of `tunewise check`: complete in itself, safe with any text, its links lead somewhere."""

from __future__ import annotations

import json
import re
from html.parser import HTMLParser
from typing import Any

import pytest
from hypothesis import example, given, settings
from hypothesis import strategies as st

from tunewise.report.audit_page import render_audit
from tunewise.report.audit_words import group_tables, headline, label_table, limit_told, summary_rows

HOSTILE = (
    "<script>alert(1)</script>",
    "</style><img src=x onerror=alert(1)>",
    '" onmouseover="alert(1)',
    "<!--",
    "{{ 7 * 7 }}{% raw %}",
    "\x1b]0;title\x07\x1b[2J\x9b31m",
    "\u202etxt.exe\u2066",
    "\ud800",
    "&lt;b&gt;",
)


def content(
    text: str = "usual", task: str = "classification", blocking: tuple[str, ...] = ("leakage",)
) -> dict[str, Any]:
    """An audit in which a text stands wherever users and data can put one."""
    lengths = {"median": 1234, "most_rows": 2, "longest": 3}
    group = {
        "value": text,
        "rows": 3,
        "median_characters": 2.0,
        "rates": {text: 0.5, "b": 0.5},
        "mean": None,
        "sd": None,
    }
    split = {
        **{"name": "train", "source": text, "rows": 1000, "characters": lengths, "tokens": lengths, "cut": 2},
        **{"tokens_lost": 9, "labels": {text: 700, "b": 300}, "without": 0, "quantiles": {}, "groups": {text: [group]}},
    }
    example_ = {"row": 7, "text": text, "note": text}
    finding = {
        **{"kind": "leakage", "split": "test", "rows": list(range(1, 60)), "of": 90, "what": text, "fix": text},
        **{"examples": [example_], "details": {text: text}, "count": 59},
    }
    piece = {"token": text, "part": "text", "of": 1, "tag": text}
    row = {"split": "train", "row": 1, "why": "the first row", "label": text, "tokens": 3, "lost": 1}
    checks = [
        {"kind": kind, "title": kind.title(), "fine": "all is well", "blocks": kind in blocking, "seconds": 0.1}
        for kind in ("duplicates", "leakage")
    ]
    return {
        "created": "2026-01-01T00:00:00+00:00",
        "recipe": {"model": text, "data": {"train": text}},
        "blocked": "leakage" in blocking,
        "blocking": list(blocking),
        "checks": [{**check, "findings": int(check["kind"] == "leakage")} for check in checks],
        "findings": [finding],
        "seconds": {},
        "left_out": {"coverage": f"needs {text}"},
        "overview": {
            **{"task": task, "model": text, "limit": 12, "model_limit": 64, "kept": "head"},
            **{"splits": [split, {**split, "name": text}]},
            "steps": [{"name": text, "rows_in": 3, "rows_out": 3, "reason": text}],
        },
        "rendered": [{**row, "pieces": [piece, {**piece, "part": "lost"}, {**piece, "part": "special", "of": None}]}],
    }


class Page(HTMLParser):
    """Elements with their attributes; complains of wrong nesting."""

    def __init__(self, source: str):
        super().__init__()
        self.open: list[str] = []
        self.seen: list[tuple[str, dict[str, str | None]]] = []
        self.feed(source)
        self.close()
        assert self.open == []

    def handle_starttag(self, tag: str, attributes: list[tuple[str, str | None]]) -> None:
        self.seen.append((tag, dict(attributes)))
        if tag != "meta":
            self.open.append(tag)

    def handle_endtag(self, tag: str) -> None:
        assert self.open.pop() == tag

    @property
    def shape(self) -> set[tuple[str, tuple[str, ...]]]:
        return {(tag, tuple(sorted(attributes))) for tag, attributes in self.seen}


def test_nothing_is_loaded_nothing_runs_and_every_link_leads_somewhere() -> None:
    page = Page(render_audit(content()))
    assert not {tag for tag, _ in page.seen} & {"script", "link", "iframe", "object", "embed", "base", "form", "img"}
    policy = next(attributes["content"] for _, attributes in page.seen if "http-equiv" in attributes)
    assert "default-src 'none'" in policy and "script-src 'none'" in policy
    places = {attributes["id"] for _, attributes in page.seen if "id" in attributes}
    links = [attributes["href"] for tag, attributes in page.seen if tag == "a"]
    assert "#leakage" in links and {link.removeprefix("#") for link in links} <= places
    assert not any(attributes.keys() & {"src", "action", "srcset"} for _, attributes in page.seen)


@settings(max_examples=30, deadline=None)
@given(text=st.one_of(st.sampled_from(HOSTILE), st.text(max_size=40)))
@example(text="".join(HOSTILE))
def test_no_text_becomes_an_element(text: str) -> None:
    source = render_audit(content(text))
    assert Page(source).shape <= Page(render_audit(content())).shape
    assert not re.search("[\x00-\x08\x0b-\x1f\x7f-\x9f\u202a-\u202e\u2066-\u2069\ud800-\udfff]", source)
    source.encode()


def test_what_stops_the_work_comes_first_and_what_is_fine_is_said() -> None:
    rows = summary_rows(content())
    assert [(row["kind"], row["state"]) for row in rows] == [
        ("leakage", "stops"),
        ("duplicates", "fine"),
        ("coverage", "left out"),
    ]
    assert rows[0]["told"] == "59 rows of test" and rows[1]["told"] == "all is well"
    assert headline(content()) == "1 kind of trouble found in 2,000 rows; leakage would stop training"
    assert headline(content(blocking=())).endswith("; nothing that stops training")
    lacking = content(blocking=("coverage",))
    assert summary_rows(lacking)[0]["kind"] == "coverage" and "coverage would stop training" in headline(lacking)
    source = render_audit(content())
    assert "all is well" in source and "and 19 more, in check.json" in source


def test_tables() -> None:
    overview = content()["overview"]
    assert label_table(overview) == (
        ["class", "train", "usual"],
        [["usual", "700 (70.0%)", "700 (70.0%)"], ["b", "300 (30.0%)", "300 (30.0%)"]],
    )
    (title, heads, rows), _ = group_tables(overview, 5)
    assert (title, heads) == ("usual in train", ["usual", "rows", "characters (median)", "usual", "b"])
    assert rows == [["usual", "3", "2", "50.0%", "50.0%"]]
    many = json.loads(json.dumps(overview))
    many["splits"][0]["groups"]["usual"] *= 8
    assert group_tables(many, 5)[0][2][-1] == ["(3 smaller groups)", "9", "", "", ""]
    assert limit_told(overview) == (
        "at most 12 tokens of a row are read of the 64 that the model could; of longer ones the beginnings"
    )


def test_numbers_have_quantiles_in_the_place_of_labels() -> None:
    whole = content(task="regression")
    group = {"value": "m", "rows": 3, "median_characters": 2.0, "rates": {}, "mean": 1.5, "sd": None}
    for split in whole["overview"]["splits"]:
        split |= {"labels": {}, "quantiles": {"min": 1.0, "median": 2.5, "max": 4.0}, "groups": {"sex": [group]}}
    heads, rows = label_table(whole["overview"])
    assert heads[0] == "number to predict" and rows[1] == ["median", "2.500", "2.500"]
    (_, heads, rows), _ = group_tables(whole["overview"], 5)
    assert heads[-2:] == ["mean", "spread"] and rows == [["m", "3", "2", "1.500", ""]]
    assert "quantile" not in render_audit(whole) and "2.500" in render_audit(whole)


@pytest.mark.parametrize("number", [0, 1, 70])
def test_many_labels_are_folded(number: int) -> None:
    whole = content()
    for split in whole["overview"]["splits"]:
        split["labels"] = {f"label {place}": place for place in range(number)}
    assert ("70 rows</summary>" in render_audit(whole)) == (number == 70)
