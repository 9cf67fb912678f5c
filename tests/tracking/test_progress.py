from __future__ import annotations

import io

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from tunewise.engine.events import Evaluated, Finished, Saved, Started, Step, Warned
from tunewise.tracking.progress import ProgressBar, plain_text


class Terminal(io.StringIO):
    def isatty(self) -> bool:
        return True


class Clock:
    now = 100.0

    def __call__(self) -> float:
        return self.now


def step(number: int, loss: float = 0.5) -> Step:
    return Step(number, 0.1, loss, 1e-4, 1.0, 8, 0.1)


@pytest.mark.parametrize(
    ("text", "plain"),
    [
        ("\x1b[31mred\x1b[0m", "red"),
        ("\x1b]0;title\x07text", "text"),
        ("\x1b]8;;http://x\x1b\\link\x1b]8;;\x1b\\", "link"),
        ("a\nb\tc\r\nd", "a b c d"),
        ("bell\x07 null\x00 del\x7f c1\x9b31m", "bell null del c131m"),
        ("left\u202eright", "leftright"),
        ("[bold]stays[/bold] Grüße 你好 😀", "[bold]stays[/bold] Grüße 你好 😀"),
    ],
)
def test_plain_text(text: str, plain: str) -> None:
    assert plain_text(text) == plain


@settings(max_examples=200, deadline=None, derandomize=True)
@given(st.text(alphabet=st.sampled_from("\x1b[]\\\x07\x9b\x90;0mA \n\u2028"), max_size=20) | st.text())
def test_plain_text_has_no_control_characters(text: str) -> None:
    plain = plain_text(text)
    assert not any(ord(char) < 32 or 127 <= ord(char) < 160 for char in plain)
    assert len(plain.splitlines()) <= 1 and plain_text(plain) == plain


def test_plain_lines_are_few(capsys: pytest.CaptureFixture) -> None:
    stream, clock = io.StringIO(), Clock()
    bar = ProgressBar("f1_macro", stream, clock)
    bar.on_started(Started(100, "lora, seed 0"))
    for number in range(1, 51):
        clock.now += 0.5
        bar.on_step(step(number))
        bar.on_saved(Saved(number, "x"))
    bar.on_evaluated(Evaluated(50, 0.5, "validation", 0.4, {"accuracy": 0.9, "f1_macro": 0.8125}))
    bar.on_warned(Warned("over-fitting\x1b[2J"))
    clock.now += 3600
    bar.on_finished(Finished("finished", 100))
    assert stream.getvalue().splitlines() == [
        "lora, seed 0: started, 100 steps",
        "lora, seed 0: step 20/100, loss 0.5000, 40 s left",
        "lora, seed 0: step 40/100, loss 0.5000, 30 s left",
        "lora, seed 0: step 50/100, validation: f1_macro 0.8125",
        "lora, seed 0: warning: over-fitting",
        "lora, seed 0: finished after 1 h 00 min",
    ]
    assert capsys.readouterr() == ("", "")


def test_time_left_counts_from_where_it_resumed() -> None:
    stream, clock = io.StringIO(), Clock()
    bar = ProgressBar(stream=stream, clock=clock)
    bar.on_started(Started(100, "full", step=80))
    clock.now += 100
    bar.on_step(step(90))
    bar.on_evaluated(Evaluated(90, 0.5, "validation", 0.4, {}))
    assert stream.getvalue().splitlines() == [
        "full: started, 100 steps, resumed after step 80",
        "full: step 90/100, loss 0.5000, 1 min 40 s left",
        "full: step 90/100, validation: loss 0.4000",
    ]


def test_a_bar_on_a_terminal(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("COLUMNS", "120")
    stream = Terminal()
    bar = ProgressBar("f1_macro", stream)
    bar.on_started(Started(20, "lora [red]\x1b[31m"))
    for number in range(1, 21):
        bar.on_step(step(number, loss=1 / number))
    bar.on_evaluated(Evaluated(20, 1.0, "validation", 0.4, {"f1_macro": 0.75}))
    bar.on_warned(Warned("[bold]not markup[/bold]"))
    bar.on_finished(Finished("finished", 20))
    shown = plain_text(stream.getvalue())
    assert "lora [red]" in shown and "20/20" in shown and "loss 0.0500  validation f1_macro 0.7500" in shown
    assert "warning: [bold]not markup[/bold]" in shown and "finished after 0 s" in shown


def test_a_warning_before_the_start() -> None:
    stream = io.StringIO()
    ProgressBar(stream=stream).on_warned(Warned("3 rows were cut"))
    assert stream.getvalue() == "warning: 3 rows were cut\n"


def test_a_run_that_fails_before_its_first_step_tells_its_own_time() -> None:
    stream, clock = io.StringIO(), Clock()
    bar = ProgressBar(stream=stream, clock=clock)
    clock.now += 3
    bar.on_finished(Finished("failed"))
    assert stream.getvalue() == "failed after 3 s\n"
