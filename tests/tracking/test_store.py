from __future__ import annotations

import os
import time
from collections.abc import Callable
from pathlib import Path

import pytest

from tunewise.commit import lock
from tunewise.errors import StoreError
from tunewise.tracking.record import Problem, RunRecord, UsedModel, write_record
from tunewise.tracking.store import RunRow, find_runs, table_row
from tunewise.types import Costs, Score


def record(created: str = "2026-01-02T00:00:00+00:00", **more) -> RunRecord:
    return RunRecord(**{"status": "finished", "method": "full", "seed": 0, "recipe": {}, "created": created, **more})


def test_finds_single_runs_and_those_of_comparisons(tmp_path: Path) -> None:
    write_record(tmp_path / "one", record("2026-01-03T00:00:00+00:00"))
    write_record(tmp_path / "first" / "runs" / "full-0", record("2026-01-01T00:00:00+00:00"))
    write_record(tmp_path / "first" / "runs" / "full-1", record("2026-01-02T00:00:00+00:00"))
    write_record(tmp_path / "one" / "model", record())  # a file of that name inside a run is no other run
    write_record(tmp_path / ".tmp-0123456789abcdef0123456789abcdef", record())
    write_record(tmp_path / "a/b/c/d/e/f", record())
    found = [run.path.relative_to(tmp_path).as_posix() for run in find_runs(tmp_path)]
    assert found == ["first/runs/full-0", "first/runs/full-1", "one"]
    assert [run.path for run in find_runs(tmp_path / "one")] == [tmp_path / "one"]


def test_unreadable_runs_are_listed(tmp_path: Path) -> None:
    write_record(tmp_path / "good", record())
    path = write_record(tmp_path / "bad", record())
    path.write_text(path.read_text()[:-20])
    good, bad = find_runs(tmp_path)
    assert good.status == "finished" and bad.status == "unreadable" and bad.record is None
    row = table_row(bad)
    assert row.status == "unreadable" and "record.json" in row.problem and row.path == str(tmp_path / "bad")


def test_a_run_whose_process_died_is_not_running(tmp_path: Path) -> None:
    write_record(tmp_path / "one", record(status="running"))
    with lock(tmp_path / "one"):
        assert [run.status for run in find_runs(tmp_path)] == ["running"]
    assert [run.status for run in find_runs(tmp_path)] == ["interrupted"]


def test_row(tmp_path: Path) -> None:
    write_record(
        tmp_path / "one",
        record(
            recipe={"metric": "f1_macro"},
            model=UsedModel("mini", "models/mini", "00"),
            scores={"test": {"accuracy": Score(0.9, 0.8, 1.0), "f1_macro": Score(0.7, 0.6, 0.8)}},
            costs=Costs(1.5, 2.5, 10, 1e12, 2e12, 1200, 22_000, 5000, 0.25),
        ),
    )
    (run,) = find_runs(tmp_path)
    row = RunRow(
        path=str(tmp_path / "one"),
        status="finished",
        created="2026-01-02T00:00:00+00:00",
        method="full",
        model="mini",
        seed=0,
        split="test",
        metric="f1_macro",
        score=0.7,
        low=0.6,
        high=0.8,
        train_seconds=1.5,
        trainable_parameters=1200,
        saved_bytes=5000,
    )
    assert table_row(run) == row
    assert table_row(run, "accuracy").score == 0.9
    assert table_row(run, "mcc").score is None


def test_row_of_a_failed_run(tmp_path: Path) -> None:
    write_record(tmp_path, record(status="failed", recipe={"model": "m"}, error=Problem("out of memory")))
    row = table_row(find_runs(tmp_path)[0])
    assert (row.status, row.model, row.problem, row.score) == ("failed", "m", "out of memory", None)


def read_until(stop: Path, root: Path, count: int) -> None:
    """Lists the runs over and over: each is readable, none goes away, and none goes back."""
    seen: dict[Path, int] = {}
    while not stop.exists():
        found = {run.path: run for run in find_runs(root)}
        if any(run.record is None for run in found.values()) or not seen.keys() <= found.keys():
            os._exit(2)
        for path, run in found.items():
            if len(run.record.notes) < seen.get(path, 0) or table_row(run).problem:
                os._exit(3)
            seen[path] = len(run.record.notes)
    os._exit(0 if len(seen) == count else 4)


def write_updates(root: Path, number: int, updates: int) -> None:
    """A run from its beginning to its end, with a record for each step of it."""
    folder = root / f"comparison-{number % 4}" / "runs" / f"full-seed{number}"
    with lock(folder):
        for step in range(updates):
            notes = [str(done) for done in range(step + 1)]
            write_record(folder, record(status="running", seed=number, notes=notes))
        write_record(folder, record(seed=number, notes=[str(done) for done in range(updates + 1)]))


def in_child(act: Callable[[], None]) -> int:
    child = os.fork()
    if child == 0:
        try:
            act()
            os._exit(0)
        finally:
            os._exit(1)
    return child


def exit_codes(children: list[int]) -> list[int]:
    return [os.waitstatus_to_exitcode(os.waitpid(child, 0)[1]) for child in children]


def test_sixteen_writers_and_readers_share_the_store(tmp_path: Path) -> None:
    root, stop, writers, updates = tmp_path / "runs", tmp_path / "stop", 16, 20
    root.mkdir()
    readers = [in_child(lambda: read_until(stop, root, writers)) for _ in range(4)]
    done = exit_codes(
        [in_child(lambda number=number: write_updates(root, number, updates)) for number in range(writers)]
    )
    time.sleep(0.3)  # so that every reader sees the end
    stop.touch()
    assert done == [0] * writers and exit_codes(readers) == [0] * 4
    found = find_runs(root)
    assert sorted(run.record.seed for run in found) == list(range(writers))
    assert all(run.status == "finished" and len(run.record.notes) == updates + 1 for run in found)
    assert not list(root.rglob(".tmp-*"))


def test_who_looks_is_not_taken_for_an_owner(tmp_path: Path) -> None:
    """Readers hold the lock for a moment: neither do they see each other, nor keep they a run from beginning."""
    write_record(tmp_path / "one", record(status="running"))
    with lock(tmp_path / "one"):
        pass
    stop = tmp_path / "stop"

    def look() -> None:
        while not stop.exists():
            if [run.status for run in find_runs(tmp_path)] != ["interrupted"]:
                os._exit(2)

    readers = [in_child(look) for _ in range(8)]
    time.sleep(0.5)
    stop.touch()
    assert exit_codes(readers) == [0] * 8


def test_no_folder(tmp_path: Path) -> None:
    assert find_runs(tmp_path) == []
    with pytest.raises(StoreError, match="there is no folder"):
        find_runs(tmp_path / "absent")
