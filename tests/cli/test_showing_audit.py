"""The audit on a terminal: bars while it looks, colours for what the tokens are, nothing that steers it."""

from __future__ import annotations

import io
from typing import Any

import pytest

from tunewise.audit.rendered import Piece
from tunewise.cli.checking import Bars, Lines, make_progress
from tunewise.cli.showing_audit import print_audit, rendered_text

PIECES = [
    Piece("[CLS]", "special"),
    Piece("good", "text", 0, "B-mood"),
    Piece("day", "text", 0, "O"),
    Piece("to", "lost", 0),
    Piece("12 more tokens lost", "more", 0),
    Piece("[SEP]", "special"),
    Piece("you", "text", 1),
]


class Terminal(io.StringIO):
    def isatty(self) -> bool:
        return True


def test_tokens_stand_where_the_model_reads_them_and_what_is_cut_between_marks() -> None:
    line = rendered_text(PIECES)
    assert line.plain == "    [CLS] good/B-mood day << to (12 more tokens lost) >> [SEP] you "
    styles = {line.plain[span.start : span.end]: str(span.style) for span in line.spans}
    assert styles["[CLS]"] == "cyan" and styles["to"] == "red strike" and styles["you"] == "blue"
    assert styles["/B-mood"] == "green" and "day" not in styles
    assert rendered_text(PIECES[:5]).plain.endswith("(12 more tokens lost) >>")


def test_a_token_is_never_a_command() -> None:
    assert rendered_text([Piece("\x1b[2J[red]x", "text", 0)]).plain == "    [red]x "


def test_lines_tell_each_check_once() -> None:
    stream = io.StringIO()
    with make_progress(stream) as progress:
        assert isinstance(progress, Lines)
        for title, share in (("One", 0.0), ("One", 0.5), ("One", 1.0), ("Two\x1b[2J", 0.0), ("Two\x1b[2J", 1.0)):
            progress.on_check(title, share)
    assert stream.getvalue() == "looking: One\nlooking: Two\n"


def test_a_bar_for_each_check_that_goes_when_all_are_done(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("TERM", "xterm")
    stream = Terminal()
    with make_progress(stream) as progress:
        assert isinstance(progress, Bars)
        progress.on_check("One", 0.0)
        progress.on_check("One", 0.5)
        progress.on_check("Two", 1.0)
        assert [(task.description, task.completed) for task in progress.bars.tasks] == [("One", 0.5), ("Two", 1.0)]
    assert "One" in stream.getvalue() and progress.bars.live.transient


def test_many_labels_are_counted_where_they_are_not_shown(capsys: pytest.CaptureFixture[str]) -> None:
    lengths = {"median": 1, "most_rows": 2, "longest": 3}
    split: dict[str, Any] = {
        **{"name": "train", "source": "f", "rows": 30, "characters": lengths, "tokens": lengths, "cut": 0},
        **{"tokens_lost": 0, "labels": {f"class {n}": 30 - n for n in range(30)}, "without": 0, "quantiles": {}},
        "groups": {},
    }
    overview = {"task": "classification", "model": "m", "limit": None, "model_limit": None, "kept": "head"}
    whole = {"overview": {**overview, "splits": [split], "steps": []}, "rendered": [], "findings": [], "checks": []}
    print_audit({**whole, "left_out": {"coverage": "needs a column"}, "blocking": [], "blocked": False})
    printed = capsys.readouterr().out
    assert "Nothing found in 30 rows" in printed and "and 18 more: --json or --out has all" in printed
    assert "not looked for: it needs a column" in printed and "texts of any length are read" in printed
