from __future__ import annotations

import copy

import comparison_samples as samples
import pytest

from tunewise.report.html import render_html
from tunewise.report.samples import copied, sample_lines, writing

OPTIONS = {
    "temperature": None,
    "top_k": None,
    "top_p": None,
    "beams": 1,
    "repetition_penalty": 1.0,
    "max_new_tokens": 40,
}


@pytest.fixture
def written():
    """A comparison whose runs have written for two rows, one of them with a hostile text."""
    comparison = copy.deepcopy(samples.comparison())
    for run in comparison["runs"]:
        if run["kind"] == "baseline" or run["status"] != "finished":
            continue
        run["texts"] = {
            "options": OPTIONS,
            "signatures": {"bleu": "nrefs:1|case:mixed"},
            "sets": {},
            "samples": [
                {
                    "row": 4,
                    "prompt": "Once upon",
                    "reference": "a time",
                    "before": "a bug",
                    "after": f"by {run['method']}",
                },
                {"row": 9, "prompt": "<b>x</b>", "reference": "", "before": None, "after": "<script>alert(1)</script>"},
            ],
        }
    return comparison


def test_the_page_shows_samples_side_by_side_and_escaped(written):
    page = render_html(written)
    section = page[page.index('id="samples"') :]
    section = section[: section.index("</section>")]
    for text in (
        "Once upon",
        "a time",
        "a bug",
        "before tuning",
        "by full",
        "by lora",
        "greedy, at most 40 new tokens",
    ):
        assert text in section, text
    assert "&lt;script&gt;alert(1)" in section and "<script>alert" not in page and "<b>x</b>" not in page
    assert "nrefs:1|case:mixed" in section


def test_a_comparison_without_texts_has_no_such_section():
    assert 'id="samples"' not in render_html(samples.comparison())


def test_samples_in_the_terminal_are_short_and_plain():
    sample = {"row": 3, "prompt": "go\x1b[31m", "reference": "", "before": "b" * 500, "after": "new"}
    lines = sample_lines({"samples": [sample, sample, sample]})
    assert lines[0] == "row 3: go\\x1b[31m" and lines[1].startswith("    before:    bbb")
    assert all(len(line) < 200 for line in lines) and len(lines) == 6
    assert sample_lines({}) == []


def test_copies_are_told():
    found = {"words": 8, "share": 0.125, "reference_share": 0.03, "longest": 11}
    assert copied({"overlap": found}) == (
        "12.5% of the runs of 8 words written stand in the training texts (of the references' own: 3.0%); the longest "
        "copy has 11 words"
    )
    assert copied({}) is None and copied({"overlap": {**found, "share": None}}) is None
    assert sample_lines({"overlap": found, "samples": []}) == [copied({"overlap": found})]


def test_how_tokens_were_chosen_in_words():
    assert writing({**OPTIONS, "beams": 4}) == "beam search with 4 beams, at most 40 new tokens"
    drawn = {**OPTIONS, "temperature": 0.7, "top_p": 0.9, "repetition_penalty": 1.2}
    assert writing(drawn) == "drawn at temperature 0.7, top_p 0.9, repetition penalty 1.2, at most 40 new tokens"
