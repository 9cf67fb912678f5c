"""The log of a run: one JSON object per line. A resumed run leaves the log of one that was never interrupted.

Rows: {"event": "started" | "planned" | "step" | "wrote" | "evaluated" | "warned" | "finished", "step": ..., ...,
"time": {...}}. All that depends on the wall clock is under "time", nothing else is. That a checkpoint was saved
leaves no row, since an interruption saves one more. NaN and infinity, which JSON does not have, are the strings "nan",
"inf", "-inf".

The file only grows, each row at once and with a CRC-32 over it ("crc32" under "time"): a kill tears the last row at
most, a full disk none, and a changed bit is found. A resume takes back rows behind its checkpoint by writing the file
anew beside the old one.
"""

from __future__ import annotations

import json
import math
import zlib
from collections.abc import Mapping
from dataclasses import fields
from datetime import UTC, datetime
from pathlib import Path
from typing import Any

from tunewise.commit import AppendedFile, write_file
from tunewise.commit.files import explained
from tunewise.engine.events import Evaluated, Event, Finished, Observer, Planned, Saved, Started, Step, Warned, Wrote

_CLOCKED = ("seconds",)
_NOT_NUMBERS = ("nan", "inf", "-inf")


class JsonlLog(Observer):
    """Writes `log.jsonl`, each row at once."""

    def __init__(self, path: Path):
        self.path = Path(path)
        self._file: AppendedFile | None = None
        self._resumed_at = 0
        self._kept: set[str] = set()
        self._early: list[Event] = []

    def on_started(self, event: Started) -> None:
        rows, damaged = _rows(self.path) if event.step and self.path.is_file() else ([], [])
        kept = [row for row in rows if row["step"] <= event.step and row["event"] != "finished"]
        self._resumed_at = event.step
        self._kept = {_timeless(row) for row in kept}
        write_file(self.path, "".join(_line(row) for row in kept))
        self._file = AppendedFile(self.path)
        self._write(Started(event.total_steps, event.run))
        told = [Warned(f"{message} and was removed", event.step) for message in damaged]
        if (last := max((row["step"] for row in kept), default=0)) < event.step:  # it was synced with the checkpoint
            told.append(Warned(f"rows of {self.path.name} are lost from step {last} to step {event.step}", event.step))
        for early in (*self._early, *told):
            self._write(early)

    def on_planned(self, event: Planned) -> None:
        self._write(event)

    def on_step(self, event: Step) -> None:
        self._write(event)

    def on_wrote(self, event: Wrote) -> None:
        self._write(event)

    def on_evaluated(self, event: Evaluated) -> None:
        self._write(event)

    def on_saved(self, event: Saved) -> None:
        if self._file:
            self._file.sync()  # a checkpoint is not ahead of its log after a power cut

    def on_warned(self, event: Warned) -> None:
        self._write(event)

    def on_finished(self, event: Finished) -> None:
        self._write(event)
        if self._file:
            self._file.close()
            self._file = None

    def _write(self, event: Event) -> None:
        if not self._file:  # the run is still being made ready
            self._early.append(event)
            return
        row = _row(event)
        if row["step"] <= self._resumed_at and _timeless(row) in self._kept:  # told before the interruption
            return
        self._file.write(_line(row).encode())


def read_log(path: Path) -> list[dict[str, Any]]:
    """The rows of a log, with numbers for "nan" and "inf"; a last line torn by a kill is left out."""
    return [_with_numbers(row) for row in _rows(Path(path))[0]] if Path(path).is_file() else []


def end_log(path: Path) -> None:
    """Adds the last row to the log of a run that was killed between its record and that row."""
    rows = _rows(path)[0] if path.is_file() else []
    if rows and rows[-1]["event"] != "finished":
        row = _row(Finished("finished", rows[-1]["step"]))
        write_file(path, "".join(_line(each) for each in (*rows, row)))


def unreadable_rows(path: Path) -> list[str]:
    """What is wrong with a log, line by line; a last line torn by a kill is not.

    Raises:
        StoreError: the file cannot be read.
    """
    return _rows(path)[1]


def has_ended(path: Path) -> bool:
    """Whether the last row is the one that ends a run."""
    rows = _rows(path)[0]
    return bool(rows) and rows[-1]["event"] == "finished"


def _row(event: Event) -> dict[str, Any]:
    values = {item.name: _plain(getattr(event, item.name)) for item in fields(event)}
    clocked = {name: values.pop(name) for name in _CLOCKED if name in values}
    at = datetime.now(UTC).isoformat(timespec="milliseconds")
    step = values.pop("step")
    return {"event": type(event).__name__.lower(), "step": step or 0, **values, "time": {"at": at, **clocked}}


def _line(row: dict[str, Any]) -> str:
    row = {**row, "time": {**row["time"], "crc32": _crc(row)}}
    return json.dumps(row, allow_nan=False) + "\n"


def _crc(row: dict[str, Any]) -> str:
    return f"{zlib.crc32(json.dumps(row).encode()):08x}"


def _timeless(row: dict[str, Any]) -> str:
    return json.dumps({key: value for key, value in row.items() if key != "time"}, sort_keys=True)


def _rows(path: Path) -> tuple[list[dict[str, Any]], list[str]]:
    """The rows that are as they were written, and a message for each line that is not, but for a torn last one."""
    with explained("read", path):
        lines = path.read_bytes().split(b"\n")
    needs_crc = any(b'"crc32"' in line for line in lines)  # logs of tunewise 0.1 have none
    rows, unreadable = [], []
    for number, line in enumerate(lines, start=1):
        row = _parsed(line, needs_crc)
        if row is not None:
            rows.append(row)
        elif line.strip() and number < len(lines):
            unreadable.append(f"line {number} of {path.name} could not be read")
    return rows, unreadable


def _parsed(line: bytes, needs_crc: bool) -> dict[str, Any] | None:
    try:
        row = json.loads(line)
    except (ValueError, RecursionError):
        return None
    if not (isinstance(row, dict) and isinstance(row.get("event"), str) and type(row.get("step")) is int):
        return None
    time = row.get("time")
    crc = time.pop("crc32", None) if isinstance(time, dict) else None
    return row if crc == _crc(row) or (crc is None and not needs_crc) else None


def _plain(value: Any) -> Any:
    if isinstance(value, Mapping):
        return {str(key): _plain(inner) for key, inner in value.items()}
    if isinstance(value, (list, tuple)):
        return [_plain(inner) for inner in value]
    if isinstance(value, (str, bool)) or value is None:
        return value
    number = int(value) if hasattr(value, "__index__") else float(value)
    return number if math.isfinite(number) else str(number)


def _with_numbers(row: dict[str, Any]) -> dict[str, Any]:
    return {
        key: _with_numbers(value)
        if isinstance(value, dict)
        else float(value)
        if value in _NOT_NUMBERS and key != "message"
        else value
        for key, value in row.items()
    }
