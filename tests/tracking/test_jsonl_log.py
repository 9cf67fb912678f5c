from __future__ import annotations

import json
import math
import resource
from pathlib import Path

import numpy as np
import pytest

from tunewise.engine.events import Evaluated, Finished, Observers, Planned, Saved, Started, Step, Warned
from tunewise.errors import StoreError
from tunewise.tracking.jsonl_log import JsonlLog, read_log, unreadable_rows

TOTAL, SAVE_EVERY = 12, 4


def train(path: Path, start: int = 0, killed_after: int | None = None, stopped_after: int | None = None) -> None:
    """The events of a run of 12 steps that validates every 3 and saves every 4; killed, it writes no end."""
    observers = Observers([JsonlLog(path)])
    observers.emit(Planned(0, 1200, 0))
    observers.emit(Warned("3 rows were cut"))
    observers.emit(Started(TOTAL, "full", step=start))
    for step in range(start + 1, TOTAL + 1):
        observers.emit(Step(step, step / 6, 1 / step, 1e-4, 0.5 * step, 32, 0.01 * start + step))
        if step % 3 == 0:
            observers.emit(Evaluated(step, step / 6, "validation", 2 / step, {"f1_macro": step / 20}))
        if step == 9:
            observers.emit(Warned("over-fitting"))
        if step % SAVE_EVERY == 0:
            observers.emit(Saved(step, f"checkpoints/step-{step:08d}-{start:08x}"))
        if step == killed_after:
            return
        if step == stopped_after:
            observers.emit(Finished("interrupted", step))
            return
    observers.emit(Finished("finished", TOTAL))


def timeless(path: Path) -> list[dict]:
    return [{key: value for key, value in row.items() if key != "time"} for row in read_log(path)]


def test_rows(tmp_path: Path) -> None:
    train(tmp_path / "log.jsonl")
    rows = [json.loads(line) for line in (tmp_path / "log.jsonl").read_text().splitlines()]
    assert [row["event"] for row in rows[:4]] == ["started", "planned", "warned", "step"]
    counted = {"loss", "learning_rate", "grad_norm", "tokens", "forward_flops", "backward_flops"}
    assert set(rows[3]) == {"event", "step", "epoch", "time", *counted}
    assert rows[3]["time"]["seconds"] == 1
    assert rows[-1] | {"time": 0} == {"event": "finished", "step": 12, "status": "finished", "time": 0}
    evaluated = [row for row in rows if row["event"] == "evaluated"]
    assert [row["scores"]["f1_macro"] for row in evaluated] == [0.15, 0.3, 0.45, 0.6]
    assert all(row["time"]["at"].endswith("+00:00") for row in rows)


@pytest.mark.parametrize("killed_after", range(1, TOTAL + 1))
@pytest.mark.parametrize("cut", [0, 1, 30])
def test_a_resumed_log_equals_an_uninterrupted_one(tmp_path: Path, killed_after: int, cut: int) -> None:
    """Killed after each step, the last line torn by `cut` bytes, and resumed from the last checkpoint."""
    train(tmp_path / "whole.jsonl")
    log = tmp_path / "log.jsonl"
    train(log, killed_after=killed_after)
    if killed_after % SAVE_EVERY:
        log.write_bytes(log.read_bytes()[: -cut or None])
    train(log, start=killed_after // SAVE_EVERY * SAVE_EVERY)
    assert timeless(log) == timeless(tmp_path / "whole.jsonl")


def test_resumed_twice_and_after_an_orderly_stop(tmp_path: Path) -> None:
    train(tmp_path / "whole.jsonl")
    log = tmp_path / "log.jsonl"
    train(log, killed_after=5)
    train(log, start=4, killed_after=9)
    train(log, start=8, stopped_after=10)
    train(log, start=10)
    assert timeless(log) == timeless(tmp_path / "whole.jsonl")


def test_a_fresh_start_begins_a_fresh_log(tmp_path: Path) -> None:
    train(tmp_path / "log.jsonl")
    train(tmp_path / "log.jsonl", killed_after=1)
    assert [row["event"] for row in timeless(tmp_path / "log.jsonl")] == ["started", "planned", "warned", "step"]


def test_a_damaged_line_is_told(tmp_path: Path) -> None:
    log = tmp_path / "log.jsonl"
    train(log, killed_after=5)
    lines = log.read_bytes().split(b"\n")
    lines[4] = b"\xff" + lines[4]
    lines[6] = b'{"no": "event"}'
    log.write_bytes(b"\n".join(lines))
    train(log, start=4)
    told = [
        row["message"] for row in read_log(log) if row["event"] == "warned" and "could not be read" in row["message"]
    ]
    assert told == [f"line {number} of log.jsonl could not be read and was removed" for number in (5, 7)]


def test_every_turned_bit_of_a_row_is_found(tmp_path: Path) -> None:
    """Also one that leaves valid JSON, such as another digit of a loss."""
    log = tmp_path / "log.jsonl"
    train(log, killed_after=5)
    raw, rows = log.read_bytes(), read_log(log)
    assert unreadable_rows(log) == []
    end = raw.rindex(b"\n", 0, -1)  # the last row may be torn
    for place in range(0, end, 7):
        for bit in (1, 16):
            log.write_bytes(raw[:place] + bytes([raw[place] ^ bit]) + raw[place + 1 :])
            assert unreadable_rows(log) and all(row in rows for row in read_log(log))
    log.write_bytes(raw.replace(b'"loss": 0.5', b'"loss": 0.4'))
    (told,) = unreadable_rows(log)
    assert told.endswith("of log.jsonl could not be read")


def test_logs_without_checksums_are_read(tmp_path: Path) -> None:
    """Those of tunewise 0.1."""
    log = tmp_path / "log.jsonl"
    train(log)
    rows = [json.loads(line) for line in log.read_text().splitlines()]
    for row in rows:
        assert len(row["time"].pop("crc32")) == 8
    log.write_text("".join(json.dumps(row) + "\n" for row in rows))
    assert unreadable_rows(log) == [] and len(read_log(log)) == len(rows)


def test_rows_that_are_lost_are_told(tmp_path: Path) -> None:
    """The log is synced with each checkpoint, so that it cannot end before it but by damage."""
    log = tmp_path / "log.jsonl"
    train(log, killed_after=9)
    lines = log.read_bytes().splitlines(keepends=True)
    log.write_bytes(b"".join(line for line in lines if json.loads(line)["step"] <= 5))
    train(log, start=8)
    told = [row["message"] for row in read_log(log) if row["event"] == "warned" and "lost" in row["message"]]
    assert told == ["rows of log.jsonl are lost from step 5 to step 8"]
    log.unlink()
    train(log, start=8)
    told = [row["message"] for row in read_log(log) if row["event"] == "warned" and "lost" in row["message"]]
    assert told == ["rows of log.jsonl are lost from step 0 to step 8"]


def test_a_full_disk_tears_no_row(tmp_path: Path) -> None:
    """The run ends with an error that names file and bytes; its log is whole, and goes on when there is room."""
    log = JsonlLog(tmp_path / "log.jsonl")
    log.on_started(Started(3, "head"))
    log.on_step(Step(1, 0.1, 0.5, 1e-3, 1.0, 8, 0.1))
    soft, hard = resource.getrlimit(resource.RLIMIT_FSIZE)
    resource.setrlimit(resource.RLIMIT_FSIZE, ((tmp_path / "log.jsonl").stat().st_size + 20, hard))
    try:
        with pytest.raises(StoreError, match=r"cannot write to .*log\.jsonl \(\d+ bytes needed\)"):
            log.on_step(Step(2, 0.2, 0.4, 1e-3, 1.0, 8, 0.1))
    finally:
        resource.setrlimit(resource.RLIMIT_FSIZE, (soft, hard))
    log.on_finished(Finished("failed", 1))
    assert [row["event"] for row in read_log(tmp_path / "log.jsonl")] == ["started", "step", "finished"]
    assert unreadable_rows(tmp_path / "log.jsonl") == []


def test_each_row_is_there_at_once(tmp_path: Path) -> None:
    log = JsonlLog(tmp_path / "log.jsonl")
    log.on_started(Started(3, "head"))
    for step in (1, 2):
        log.on_step(Step(step, 0.1, 0.5, 1e-3, 1.0, 8, 0.1))
        assert read_log(tmp_path / "log.jsonl")[-1]["step"] == step


def test_values_json_does_not_have(tmp_path: Path) -> None:
    log = JsonlLog(tmp_path / "log.jsonl")
    log.on_started(Started(3, "nan"))
    log.on_step(Step(np.int64(1), 0.1, math.nan, np.float32(0.5), math.inf, np.int64(8), 0.1))
    log.on_evaluated(Evaluated(1, 0.1, "validation", -math.inf, {"r2": math.nan}))
    text = (tmp_path / "log.jsonl").read_text()
    for line in text.splitlines():
        json.loads(line, parse_constant=lambda word: pytest.fail(f"{word} is not JSON"))
    assert '"loss": "nan"' in text and '"grad_norm": "inf"' in text and '"learning_rate": 0.5' in text
    started, step, evaluated = read_log(tmp_path / "log.jsonl")
    assert started["run"] == "nan" or math.isnan(started["run"])
    assert math.isnan(step["loss"]) and step["grad_norm"] == math.inf and step["tokens"] == 8
    assert evaluated["loss"] == -math.inf and math.isnan(evaluated["scores"]["r2"])


def test_no_log(tmp_path: Path) -> None:
    assert read_log(tmp_path / "absent.jsonl") == []
