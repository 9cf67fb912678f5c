"""What a user sees while a comparison runs: bars on a terminal, lines in a pipe or a log file."""

from __future__ import annotations

import sys
import time
from typing import TextIO

from tunewise.check import Checked
from tunewise.comparison.entry import Entry
from tunewise.tracking.data_lines import data_lines, finding_lines
from tunewise.tracking.progress import plain_text
from tunewise.tracking.record import RunRecord


class Silent:
    """Says nothing."""

    def on_plan(self, checked: Checked, entries: list[Entry], done: int, side_by_side: int) -> None: ...

    def on_start(self, entry: Entry) -> None: ...

    def on_message(self, entry: Entry, step: int, total: int, loss: float | None, scores: dict[str, float]) -> None: ...

    def on_end(self, entry: Entry, record: RunRecord, seconds: float) -> None: ...

    def close(self) -> None: ...


class Lines(Silent):
    """A line for each run that ends, with its score on validation and the time left."""

    def __init__(self, stream: TextIO):
        self.stream, self.metric, self.total, self.done, self.ended = stream, "", 0, 0, 0
        self.begun = time.monotonic()

    def on_plan(self, checked: Checked, entries: list[Entry], done: int, side_by_side: int) -> None:
        self.metric, self.total, self.done, self.begun = checked.metric, len(entries), done, time.monotonic()
        rows = ", ".join(f"{name} {len(split):,}" for name, split in checked.data.splits.items())
        self._line(f"data: {checked.data.schema.task}, {rows} rows")
        for line in [*data_lines(checked.data.steps), *finding_lines(checked.found.audit.findings)]:
            self._line(line)
        for located in checked.models.values():
            if located.note:
                self._line(f"model: {plain_text(located.note)}")
        for reason in dict.fromkeys(entry.reason for entry in checked.left_out):
            self._line(f"left out: {plain_text(reason)}")
        again = f", {done} of them finished before" if done else ""
        self._line(f"{len(entries)} runs{again}, {side_by_side} at a time; chosen by {checked.metric} on validation")

    def on_end(self, entry: Entry, record: RunRecord, seconds: float) -> None:
        self.done, self.ended = self.done + 1, self.ended + 1
        if record.status == "finished":
            score = record.validation.get(self.metric)
            result = f"{self.metric} {score.value:.3f} on validation, {seconds:.0f} s" if score else f"{seconds:.0f} s"
        else:
            result = record.status + (f": {plain_text(record.error.what)}" if record.error else "")
        self._line(f"[{self.done}/{self.total}] {self._named(entry)}: {result}{self._left()}")
        for warning in record.warnings:
            self._line(f"    {plain_text(warning)}")

    def _left(self) -> str:
        remaining = (time.monotonic() - self.begun) / self.ended * (self.total - self.done)
        return f" ({remaining:.0f} s left)" if remaining >= 1 else ""

    def _named(self, entry: Entry) -> str:
        fold = "" if entry.fold is None else f", fold {entry.fold}"
        if entry.choice is None:
            return plain_text(entry.name + fold)
        scale = entry.choice.options.get("rate_scale")
        rate = f", rate x {scale:g}" if scale is not None else ""
        return plain_text(f"{entry.name}, seed {entry.seed}{fold}{rate}")

    def _line(self, text: str) -> None:
        print(text, file=self.stream, flush=True)


class Bars(Lines):
    """The same lines above a bar for the whole and one for each run at work."""

    def __init__(self, stream: TextIO):
        from rich.console import Console
        from rich.progress import BarColumn, Progress, TextColumn, TimeElapsedColumn

        super().__init__(stream)
        self.tasks: dict[str, int] = {}
        self.bars = Progress(
            TextColumn("{task.description}", markup=False),
            BarColumn(bar_width=24),
            TextColumn("{task.fields[shown]}", markup=False),
            TimeElapsedColumn(),
            console=Console(file=stream),
            transient=True,
        )

    def on_plan(self, checked: Checked, entries: list[Entry], done: int, side_by_side: int) -> None:
        super().on_plan(checked, entries, done, side_by_side)
        self.whole = self.bars.add_task("all runs", total=self.total, completed=done, shown=f"{done}/{self.total}")
        self.bars.start()

    def on_start(self, entry: Entry) -> None:
        self.tasks[str(entry.folder)] = self.bars.add_task(self._named(entry), total=None, shown="loading")

    def on_message(self, entry: Entry, step: int, total: int, loss: float | None, scores: dict[str, float]) -> None:
        parts = [f"step {step}/{total}"] if total > 1 else ["embedding"]
        parts += [f"loss {loss:.3f}"] if loss is not None else []
        parts += [f"{self.metric} {scores[self.metric]:.3f}"] if self.metric in scores else []
        self.bars.update(self.tasks[str(entry.folder)], total=max(total, 1), completed=step, shown="  ".join(parts))

    def on_end(self, entry: Entry, record: RunRecord, seconds: float) -> None:
        super().on_end(entry, record, seconds)
        self.bars.remove_task(self.tasks.pop(str(entry.folder)))
        self.bars.update(self.whole, completed=self.done, shown=f"{self.done}/{self.total}")

    def close(self) -> None:
        self.bars.stop()

    def _line(self, text: str) -> None:
        self.bars.console.print(text, markup=False, highlight=False, soft_wrap=True)


def make_watcher(stream: TextIO | None = None) -> Lines:
    """Bars on a terminal, lines elsewhere."""
    stream = stream or sys.stderr
    return Bars(stream) if stream.isatty() else Lines(stream)
