"""What a user sees while a run trains: a bar on a terminal, plain lines in a pipe or a log file."""

from __future__ import annotations

import re
import sys
import time
from collections.abc import Callable
from typing import TYPE_CHECKING, TextIO

from tunewise.engine.events import Evaluated, Finished, Observer, Prepared, Saved, Started, Step, Warned, Wrote

if TYPE_CHECKING:
    from rich.progress import Progress

SECONDS_BETWEEN_LINES = 10.0
_ESCAPES = re.compile(r"\x1b\[[0-?]*[ -/]*[@-~]|\x1b\][^\x07\x1b]*(?:\x07|\x1b\\)?|\x1b[@-Z\\-_]?")
_CONTROLS = re.compile(r"[\x00-\x08\x0b-\x1f\x7f-\x9f\u061c\u200e\u200f\u202a-\u202e\u2066-\u2069\ud800-\udfff\ufeff]")
_BREAKS = re.compile(r"\r\n|[\u2028\u2029]")
_SPACES = re.compile(r"[\t\n\r\u2028\u2029]+")


def plain_text(text: str) -> str:
    """`text` on one line, without terminal escapes, control characters and marks that turn the reading direction."""
    return _CONTROLS.sub("", _SPACES.sub(" ", _ESCAPES.sub("", text)))


def plain_lines(text: str) -> str:
    """The same of a text that may have line breaks and tabs."""
    return _CONTROLS.sub("", _ESCAPES.sub("", _BREAKS.sub("\n", text)))


class ProgressBar(Observer):
    """Step, time left, loss and the current validation metrics.

    Args:
        metric: the validation metric to show; all of them in plain lines where left out.
        stream: where to write.
        clock: seconds, for the time between plain lines.
    """

    def __init__(
        self, metric: str | None = None, stream: TextIO | None = None, clock: Callable[[], float] = time.monotonic
    ):
        self._metric, self._stream, self._clock = metric, stream or sys.stderr, clock
        self._bar: Progress | None = None
        self._run, self._total, self._first_step = "", 0, 0
        self._started = self._last_line = clock()
        self._loss = self._scores = self._wrote = ""

    def on_started(self, event: Started) -> None:
        self._run, self._total, self._first_step = plain_text(event.run), event.total_steps, event.step
        self._started = self._last_line = self._clock()
        if self._stream.isatty():
            self._bar = _bar(self._stream)
            self._bar.add_task(self._run, total=event.total_steps, completed=event.step, shown="")
            self._bar.start()
        else:
            resumed = f", resumed after step {event.step}" if event.step else ""
            self._line(f"started, {event.total_steps} steps{resumed}")

    def on_prepared(self, event: Prepared) -> None:
        last = event.done == event.total
        if last or self._clock() - self._last_line >= SECONDS_BETWEEN_LINES:
            self._line(f"{plain_text(event.what)}: {event.done:,} of {event.total:,}")

    def on_step(self, event: Step) -> None:
        self._loss = " ".join(filter(None, [f"loss {event.loss:.4f}", self._wrote]))
        if self._bar:
            self._show(event.step)
        elif self._clock() - self._last_line >= SECONDS_BETWEEN_LINES:
            self._line(f"step {event.step}/{self._total}, {self._loss}{self._time_left(event.step)}")

    def on_wrote(self, event: Wrote) -> None:
        shown = [(name, event.figures[name]) for name in ("reward", "kl", "length") if name in event.figures]
        self._wrote = ", ".join(f"{name} {value:.3g}" for name, value in shown)

    def on_evaluated(self, event: Evaluated) -> None:
        shown = {
            name: value for name, value in event.scores.items() if self._metric is None or name == self._metric
        } or {"loss": event.loss}
        scores = ", ".join(f"{plain_text(name)} {value:.4f}" for name, value in shown.items())
        if self._bar:
            self._scores = f"{plain_text(event.split)} {scores}"
            self._show(event.step)
        else:
            self._line(f"step {event.step}/{self._total}, {plain_text(event.split)}: {scores}")

    def on_saved(self, event: Saved) -> None:
        if not self._bar and self._clock() - self._last_line >= SECONDS_BETWEEN_LINES:
            self._line(f"step {event.step}/{self._total}, saved")

    def on_warned(self, event: Warned) -> None:
        self._line(f"warning: {plain_text(event.message)}")

    def on_finished(self, event: Finished) -> None:
        if self._bar:
            self._bar.stop()
            self._bar = None
        self._line(f"{event.status} after {_duration(self._clock() - self._started)}")

    def _show(self, step: int) -> None:
        shown = "  ".join(part for part in (self._loss, self._scores) if part)
        self._bar.update(self._bar.task_ids[0], completed=step, shown=shown)

    def _line(self, text: str) -> None:
        self._last_line = self._clock()
        line = f"{self._run}: {text}" if self._run else text
        if self._bar:
            self._bar.console.print(line, markup=False, highlight=False)
        else:
            print(line, file=self._stream, flush=True)

    def _time_left(self, step: int) -> str:
        done = step - self._first_step
        if done < 1:
            return ""
        return f", {_duration((self._clock() - self._started) / done * (self._total - step))} left"


def _bar(stream: TextIO) -> Progress:
    from rich.console import Console
    from rich.progress import BarColumn, MofNCompleteColumn, Progress, TextColumn, TimeRemainingColumn

    return Progress(
        TextColumn("{task.description}", markup=False),
        BarColumn(bar_width=20),
        MofNCompleteColumn(),
        TimeRemainingColumn(),
        TextColumn("{task.fields[shown]}", markup=False),
        console=Console(file=stream, force_terminal=True),
        refresh_per_second=4,
    )


def _duration(seconds: float) -> str:
    whole = round(seconds)
    if whole < 60:
        return f"{whole} s"
    minutes, rest = divmod(whole, 60)
    return f"{minutes} min {rest:02d} s" if minutes < 60 else f"{minutes // 60} h {minutes % 60:02d} min"
