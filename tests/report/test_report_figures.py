"""How figures and texts are written."""

from __future__ import annotations

import pytest
from hypothesis import given
from hypothesis import strategies as st

from tunewise.report import figures


@pytest.mark.parametrize(
    ("value", "words"),
    [
        (None, "–"),
        (float("nan"), "–"),
        (0, "0.00 s"),
        (0.0004, "<0.01 s"),
        (0.82, "0.82 s"),
        (9.94, "9.9 s"),
        (9.96, "10 s"),
        (59.4, "59 s"),
        (59.6, "1 min 00 s"),
        (200, "3 min 20 s"),
        (7500, "2 h 05 min"),
    ],
)
def test_seconds(value: float | None, words: str) -> None:
    assert figures.seconds(value) == words


@pytest.mark.parametrize(
    ("value", "words"), [(0, "0 B"), (999, "999 B"), (999.7, "1.0 kB"), (3_400_000, "3.4 MB"), (99_960_000, "100 MB")]
)
def test_size_keeps_three_digits(value: float, words: str) -> None:
    assert figures.size(value) == words


def test_scores_and_counts() -> None:
    assert figures.score(0.9125) in ("0.912", "0.913")
    assert figures.score(-0.0001) == "0.000"
    assert figures.score(12.3456) == "12.35"
    assert figures.score(True) == figures.score(float("inf")) == "–"
    assert figures.count(22_700_000) == "22.7\u202fM"
    assert figures.flops(3.9e12) == "3.9 TFLOP"
    assert figures.ratio(1.25) in ("1.2x", "1.3x")
    assert figures.ratio(12345.6) == "12,346x"


def test_differences_are_in_points_only_where_the_metric_has_them() -> None:
    assert figures.difference(-0.0123, "f1_macro") == "1.2 points"
    assert figures.difference(0.01, "accuracy") == "1.0 point"
    assert figures.difference(0.0123, "rmse") == "0.012"
    assert figures.difference(0.5, "my_own_metric") == "0.500"
    assert figures.difference_interval(-0.0004, 0.024, "f1_macro") == "0.0 to 2.4"
    assert figures.difference_interval(-0.01, 0.02, "mae") == "−0.010 to 0.020"


def test_total_flops_need_both_parts() -> None:
    assert figures.cost({"forward_flops": 1.0, "backward_flops": 2.0}, "flops") == 3.0
    assert figures.cost({"forward_flops": 1.0}, "flops") is None
    assert figures.cost({"saved_bytes": None}, "saved_bytes") is None  # type: ignore[dict-item]


@given(st.text())
def test_plain_text_is_one_printable_line(text: str) -> None:
    shown = figures.plain(text, 50)
    assert len(shown) <= 50
    assert len(shown.splitlines()) <= 1
    assert not any(ord(letter) < 32 or 127 <= ord(letter) < 160 or letter in "\u202e\u2066\ufeff" for letter in shown)
    shown.encode("utf-8")


def test_plain_shows_what_it_takes_out() -> None:
    assert figures.plain("\x1b[31mred\u202e") == "\\x1b[31mred\\u202e"
    assert figures.plain(["billing", "refund"]) == "billing | refund"
    assert figures.plain([]) == "(none)"
    assert figures.plain_lines("a\n\tb\x1b", 100) == "a\n    b\\x1b"
