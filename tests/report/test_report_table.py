"""The table in the terminal."""

from __future__ import annotations

import io
from typing import Any

import comparison_samples as samples
import pytest
from rich.console import Console

from tunewise.report.table import print_comparison


def printed(comparison: dict[str, Any], width: int = 100) -> str:
    stream = io.StringIO()
    print_comparison(comparison, Console(file=stream, width=width, force_terminal=False))
    return stream.getvalue()


@pytest.fixture(scope="module")
def comparison() -> dict[str, Any]:
    return samples.comparison(failed=(("gradual", 0), ("gradual", 1), ("gradual", 2)), interrupted=(("full", 1),))


@pytest.mark.parametrize("width", [100, 80, 60])
def test_every_line_fits_and_every_entry_is_there_uncut(comparison: dict[str, Any], width: int) -> None:
    lines = printed(comparison, width).splitlines()
    assert max(map(len, lines)) <= width
    table = lines[next(place for place, line in enumerate(lines) if line.startswith(" method")) :]
    for summary in comparison["summary"]:
        (row,) = [line for line in table if line[2:].strip().startswith(summary["method"] + " ")]
        assert "…" not in row
        if summary["mean"] is not None:
            assert f"{summary['mean']:.3f}" in row and f"{summary['low']:.3f}–{summary['high']:.3f}" in row


def test_status_and_errors_are_told(comparison: dict[str, Any]) -> None:
    text = printed(comparison)
    assert "2 of 3 done" in text and "control" in text and "baseline" in text
    assert "gradual: the loss was NaN at step 12" in text and "full: stopped by the user" in text
    chosen = comparison["recommendation"]["method"]
    assert f"→ {chosen}" in text and f"Take {chosen}." in text


def test_a_narrow_terminal_loses_the_last_costs_first(comparison: dict[str, Any]) -> None:
    def heads(width: int) -> list[str]:
        return next(line for line in printed(comparison, width).splitlines() if line.startswith(" method")).split()

    assert "memory" not in heads(60) and "train" in heads(80)
    assert {"train", "memory", "trained", "±"} <= set(heads(100))


def test_hostile_text_is_neither_markup_nor_control() -> None:
    whole = samples.hostile()
    whole["runs"][0]["error"] = {"what": "[red]loss[/red] \x1b[2J [link=http://x]y", "where": None, "fix": None}
    text = printed(whole)
    assert "\x1b" not in text and "\u202e" not in text
    assert "[red]loss[/red] \\x1b[2J [link=http://x]y" in text


def test_nothing_finished_is_a_table_too() -> None:
    text = printed(samples.comparison(methods=("full",), baselines=(), seeds=1, failed=(("full", 0),)))
    assert "No method has a result yet." in text and "failed" in text
