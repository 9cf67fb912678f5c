"""Measurements outlive the command that took them."""

from __future__ import annotations

import json
from pathlib import Path
from typing import Any

import pytest

from benchmarks import __main__ as command
from benchmarks.jobs import Bench, Job
from benchmarks.process import MeasuringError
from benchmarks.results import Results
from benchmarks.rows import Files


def test_kept_and_read_again(tmp_path: Path) -> None:
    file = tmp_path / "results.json"
    results = Results(file, {"rows": 10})
    results.put("full", "ours", 1, {"train_seconds": 2.0})
    results.put("full", "ours", 0, {"train_seconds": 1.0})
    again = Results(file, {"rows": 10})
    assert again.has("full", "ours", 1) and not again.has("full", "guide", 1)
    assert again.of("full", "ours") == {0: {"train_seconds": 1.0}, 1: {"train_seconds": 2.0}}
    assert again.jobs == ["full"] and list(tmp_path.iterdir()) == [file]


def test_other_settings_are_refused(tmp_path: Path) -> None:
    Results(tmp_path / "a.json", {"rows": 10}).put("full", "ours", 0, {})
    with pytest.raises(ValueError, match="begin a new file"):
        Results(tmp_path / "a.json", {"rows": 20})
    (tmp_path / "b.json").write_text("{}")
    with pytest.raises(ValueError, match="not the format"):
        Results(tmp_path / "b.json")


def test_rounds_take_the_sides_in_turns() -> None:
    jobs = [Job("a", "a", lambda *_: {}, sides=("x", "y")), Job("b", "b", lambda *_: {}, ("z",), every_seed=False)]
    told = [(job.name, side, seed) for job, side, seed in command.turns(jobs, 2)]
    assert told == [("a", "x", 0), ("a", "y", 0), ("b", "z", 0), ("a", "x", 1), ("a", "y", 1)]


@pytest.fixture
def measured(monkeypatch: pytest.MonkeyPatch, files: Files) -> list[tuple[str, int, int | None]]:
    """Calls of the only job there is; the side `breaks` fails until it is taken out."""
    calls: list[tuple[str, int, int | None]] = []

    def measure(bench: Bench, side: str, seed: int) -> dict[str, Any]:
        calls.append((side, seed, bench.threads))
        if side == "breaks" and len(calls) < 4:
            raise MeasuringError("out of order")
        return {"train_seconds": 1.5, "told": "x"}

    monkeypatch.setattr(command, "JOBS", (Job("only", "only", measure, sides=("works", "breaks")),))
    monkeypatch.setattr(command, "write_files", lambda *_: files)
    monkeypatch.setattr(command, "measure_in_process", lambda *_: {"threads": {"best": 2}})
    return calls


def test_the_command_goes_on_where_it_was(
    measured: list[tuple[str, int, int | None]], tiny_bert: Path, tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    arguments = ["--out", str(tmp_path / "new/r.json"), "--model", str(tiny_bert), "--seeds", "1"]
    assert command.main(arguments) == 1
    assert "out of order" in capsys.readouterr().err
    assert command.main(arguments) == 1
    assert command.main(arguments) == 0
    assert command.main(arguments) == 0
    assert measured == [("works", 0, 2), *[("breaks", 0, 2)] * 3]
    content = json.loads((tmp_path / "new/r.json").read_text())
    assert content["machine"]["threads"] == {"best": 2} and content["settings"]["model"] == tiny_bert.name


def test_what_takes_long_is_left_out_unless_asked_for() -> None:
    names = [job.name for job in command.chosen_jobs(command.options([]))]
    assert "large" not in names and "full" in names and names[0] == "ceilings"
    assert "large" in [job.name for job in command.chosen_jobs(command.options(["--large"]))]
    assert [job.name for job in command.chosen_jobs(command.options(["--jobs", "head", "large"]))] == ["head", "large"]
