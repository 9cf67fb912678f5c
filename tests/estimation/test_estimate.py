"""Whole estimates, with processes of their own."""

from __future__ import annotations

import json
import os
import signal
import tempfile
from collections.abc import Callable
from pathlib import Path

import pytest

from tunewise.errors import Interrupted
from tunewise.estimation import estimate as module
from tunewise.estimation.answers import Refused, RunCost
from tunewise.estimation.estimate import estimate
from tunewise.estimation.resources import Resources


class Watched:
    """Keeps what it is told, and calls `act` at the first message."""

    def __init__(self, act: Callable[[], None] = lambda: None):
        self.names, self.words, self.ended, self.act = [], [], {}, act

    def on_plan(self, names, side_by_side) -> None:
        self.names += names

    def on_message(self, name, words) -> None:
        self.words.append((name, words))
        self.act()

    def on_end(self, name, said, seconds) -> None:
        self.ended[name] = said


@pytest.fixture
def temporary(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    """The system's folder for temporary files, in this test's own."""
    folder = tmp_path / "temporary"
    folder.mkdir()
    monkeypatch.setattr(tempfile, "tempdir", str(folder))
    return folder


@pytest.fixture
def ask(recipe, tmp_path: Path, temporary: Path):
    """`ask(methods, **options)`: the estimate, and what its watcher was told."""

    def carry_out(methods, free: Resources | None = None, watcher: Watched | None = None, **options):
        watcher = watcher or Watched()
        options |= {"look_at": lambda folder: free} if free else {}
        chosen = recipe(methods=methods, epochs=1)
        options = {"budget": 0.2, "side_by_side": 2, **options}
        return estimate(chosen, folder=tmp_path, out=tmp_path / "out", watcher=watcher, **options), watcher

    return carry_out


PLENTY = Resources(memory_bytes=2 * 10**9, disk_bytes=10**15)


def left_in(temporary: Path) -> list[Path]:
    """What is there of ours; multiprocessing keeps a socket there as long as this process lives."""
    return [path for path in temporary.iterdir() if not path.name.startswith("pymp-")]


def test_an_estimate_against_the_truth_leaves_nothing_behind(ask, tmp_path: Path, temporary: Path) -> None:
    found, watcher = ask(["features", "head", {"lora": {"rank": 2}}], validate=True)
    assert found.fits and [run.name for run in found.runs] == ["features", "head", "lora(rank=2)"]
    for run in found.runs:
        assert run.status == "fits" and run.errors()["flops"] == pytest.approx(0, abs=1e-9)
        assert abs(run.errors()["peak_memory_bytes"]) < 0.2
        assert 10**7 < run.cost.common_bytes < run.cost.peak_memory_bytes
        assert run.cost.seconds.imports > 0
    assert set(found.median_errors()) >= {"train_seconds", "total_seconds", "peak_memory_bytes", "flops"}
    assert found.whole.runs == 5 and found.whole.unknown == 0  # two baselines among them
    assert watcher.names == ["majority", "tfidf", "features", "head", "lora(rank=2)"] + [
        f"{name}, for real" for name in ("features", "head", "lora(rank=2)")
    ]
    assert ("head", "training a few steps") in watcher.words and isinstance(watcher.ended["tfidf"], RunCost)
    assert json.loads(json.dumps(found.as_dict()))["fits"] is True
    assert left_in(temporary) == [] and {path.name for path in tmp_path.iterdir()} == {"temporary"}


def test_weights_that_do_not_fit_are_not_loaded(ask) -> None:
    found, watcher = ask(["head"], free=Resources(memory_bytes=1000, disk_bytes=10**15))
    (run,) = found.runs
    assert run.status == "does not fit" and run.cost is None and not found.fits
    assert "weights" in run.problem.what and "1.0 kB" in run.problem.what
    assert "head" not in watcher.ended and found.whole.unknown == 1


def test_a_method_that_needs_more_than_is_free_is_told(ask) -> None:
    found, _ = ask(["head"], free=Resources(memory_bytes=10**8, disk_bytes=1000))
    (run,) = found.runs
    assert run.status == "does not fit" and run.cost.peak_memory_bytes > 10**8 and not found.fits
    assert "are free" in run.problem.what
    (disk,) = found.warnings
    assert "on disk; 1.0 kB are free" in disk.what


def test_a_process_stops_before_the_machine_is_full(ask, monkeypatch: pytest.MonkeyPatch, temporary: Path) -> None:
    monkeypatch.setattr(module, "RESERVE", 10**6)  # times what is free: more than any machine has
    found, watcher = ask(["head"], free=PLENTY)
    assert found.runs[0].status == "does not fit" and "hardly any was left" in found.runs[0].problem.what
    assert isinstance(watcher.ended["head"], Refused) and left_in(temporary) == []


def test_a_method_that_cannot_work_is_told_beside_the_others(ask) -> None:
    found, _ = ask(["head", {"last_k": {"k": 99}}], free=PLENTY)
    first, second = found.runs
    assert first.status == "fits" and second.status == "failed" and not found.fits
    assert "blocks" in second.problem.what and found.whole.unknown == 1


def test_who_stops_it_twice_has_nothing_left_behind(ask, temporary: Path) -> None:
    def stop() -> None:
        for _ in range(2):
            os.kill(os.getpid(), signal.SIGTERM)

    with pytest.raises(Interrupted):
        ask(["full", "head"], free=PLENTY, watcher=Watched(stop), budget=60)
    assert left_in(temporary) == []
