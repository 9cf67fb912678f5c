"""A comparison killed anywhere: what has finished is kept and verified, the rest goes on, the result is the same."""

from __future__ import annotations

import json
import os
import time
from collections.abc import Callable, Iterator
from contextlib import suppress
from dataclasses import dataclass
from multiprocessing.connection import Connection
from pathlib import Path
from typing import Any

import numpy as np
import psutil
import pytest

from tunewise.cli.watching import Silent
from tunewise.commit import owner
from tunewise.comparison import kept, schedule
from tunewise.comparison.compare import compare
from tunewise.comparison.imports import CORE
from tunewise.comparison.schedule import Pool
from tunewise.errors import LockedError, TunewiseWarning
from tunewise.recipe import Recipe
from tunewise.tracking.record import read_record
from tunewise.verification.evidence import evidence_of, leftovers_in

pytestmark = pytest.mark.skipif(os.name == "nt", reason="signals of POSIX")
SOAK_KILLS = int(os.environ.get("TUNEWISE_SOAK_KILLS", "30"))
TIMEOUT = 600
PACKAGES = (*CORE, "peft", "transformers.models.bert.modeling_bert")
METHODS = ["features", "lora"]
TIMED = {"created", "id", "environment", "costs", "marginal", "recommendation", "sha256"}


@dataclass(frozen=True)
class Job:
    recipe: Recipe
    out: Path
    own_server: bool = False


def carry_out(job: Job, pipe: Connection) -> None:
    """A comparison, in a process of its own."""
    if not job.own_server:
        schedule.START_METHOD = "fork"  # with the imports that are there; its own fork server takes 5 s for them
    compare(job.recipe, job.out, folder=job.out.parent, watcher=Silent(), side_by_side=2)


@pytest.fixture
def start() -> Iterator[Callable[[Job], Any]]:
    """Starts a comparison; it and its runs are killed at the end of the test."""
    workers, jobs = [], []

    def begin(job: Job) -> Any:
        workers.append(Pool(PACKAGES).start(0, carry_out, job))
        jobs.append(job)
        return workers[-1].process

    yield begin
    for worker, job in zip(workers, jobs, strict=True):
        kill(worker.process, job.out)
        worker.pipe.close()


def runs_at_work(out: Path) -> list[int]:
    """Process ids."""
    return [holder["pid"] for folder in (out / "runs").glob("*") if (holder := owner(folder))]


def kill(process: Any, out: Path) -> None:
    """The comparison first, so that it starts no other run, then what it has started."""
    with suppress(psutil.NoSuchProcess):
        children = psutil.Process(process.pid).children(recursive=True) if process.is_alive() else []
        process.kill()
        for child in children:
            with suppress(psutil.NoSuchProcess):
                child.kill()
    process.join()
    for number in runs_at_work(out):
        with suppress(psutil.NoSuchProcess):
            psutil.Process(number).kill()


def finished(out: Path) -> dict[str, str]:
    """The records of runs that have finished, as they are on disk."""
    records = {folder.name: folder / "record.json" for folder in (out / "runs").glob("*")}
    return {
        name: path.read_text()
        for name, path in records.items()
        if path.is_file() and read_record(path.parent).status == "finished"
    }


def timeless(value: Any) -> Any:
    if isinstance(value, dict):
        return {key: timeless(inner) for key, inner in value.items() if key not in TIMED}
    return [timeless(inner) for inner in value] if isinstance(value, list) else value


def results(out: Path) -> tuple[Any, dict[str, dict[str, str]]]:
    """comparison.json but for what tells of time, and what each method's run leaves."""
    runs = {
        folder.name: evidence_of(folder) for folder in sorted((out / "runs").iterdir()) if (folder / "model").is_dir()
    }
    return timeless(json.loads((out / "comparison.json").read_text())), runs


def killed_again_and_again(recipe: Recipe, folder: Path, start: Callable[[Job], Any], kills: int, seed: int) -> None:
    whole, out = folder / "whole", folder / "killed"
    process = start(Job(recipe, whole))
    begun = runs_begin(process, whole)
    process.join(TIMEOUT)
    took, generator = time.monotonic() - begun, np.random.default_rng(seed)
    assert process.exitcode == 0
    for _ in range(kills):
        before, process = finished(out), start(Job(recipe, out))
        if generator.uniform() < 0.8:
            runs_begin(process, out)
        process.join(generator.uniform(0.0, took / 2))
        kill(process, out)
        assert before.items() <= finished(out).items(), "a finished run was not kept as it was"
    process = start(Job(recipe, out))
    process.join(TIMEOUT)
    assert process.exitcode == 0
    assert results(out) == results(whole)
    assert not leftovers_in(out) and not list(out.glob("runs/*/checkpoints"))


def runs_begin(process: Any, out: Path) -> float:
    """Waits until a comparison has begun with its runs, and returns when that was."""
    while process.is_alive() and not runs_at_work(out):
        time.sleep(0.01)
    return time.monotonic()


def test_killed_twice(recipe: Callable[..., Recipe], tmp_path: Path, start: Callable[[Job], Any]) -> None:
    killed_again_and_again(recipe(methods=METHODS, save_steps=3), tmp_path, start, kills=2, seed=3)


@pytest.mark.soak
def test_soak_of_a_comparison(recipe: Callable[..., Recipe], tmp_path: Path, start: Callable[[Job], Any]) -> None:
    methods = ["features", "lora", "head", "full"]
    killed_again_and_again(recipe(methods=methods, seeds=2, save_steps=3), tmp_path, start, SOAK_KILLS, seed=5)


def test_runs_follow_a_comparison_that_is_killed(
    recipe: Callable[..., Recipe], tmp_path: Path, start: Callable[[Job], Any]
) -> None:
    """They save and stop, as at SIGTERM, so that nobody trains for a comparison that is not there."""
    out = tmp_path / "out"
    process = start(Job(recipe(methods=["full"], save_steps=1000, max_steps=100_000), out, own_server=True))
    log, deadline = out / "runs" / "full-seed0" / "log.jsonl", time.monotonic() + 60
    while not (log.is_file() and '"step": 5,' in log.read_text()):
        assert process.is_alive() and time.monotonic() < deadline
        time.sleep(0.01)
    process.kill()
    process.join()
    while runs_at_work(out):
        assert time.monotonic() < deadline
        time.sleep(0.01)
    record = read_record(log.parent)
    assert (record.status, record.error.what) == ("interrupted", "stopped by the user")
    assert list((log.parent / "checkpoints").glob("step-*"))


def test_a_finished_run_whose_files_are_damaged_is_named_and_run_again(
    recipe: Callable[..., Recipe], tmp_path: Path
) -> None:
    chosen, out = recipe(methods=["features"]), tmp_path / "out"
    compare(chosen, out, folder=tmp_path, watcher=Silent())
    before, run = results(out), out / "runs" / "features-seed0"
    weights = next((run / "model").glob("*.safetensors"))
    raw = bytearray(weights.read_bytes())
    raw[-3] ^= 1
    weights.write_bytes(raw)
    kept_records = {name: text for name, text in finished(out).items() if name != run.name}
    told = rf"the run {run.name} had finished, but is damaged, and is run again: {weights.name} is not what was written"
    with pytest.warns(TunewiseWarning, match=told):
        compare(chosen, out, folder=tmp_path, watcher=Silent())
    assert results(out) == before and kept_records.items() <= finished(out).items()


def test_what_a_run_did_not_come_to_at_its_very_end(recipe: Callable[..., Recipe], tmp_path: Path) -> None:
    chosen, out = recipe(methods=["features"]), tmp_path / "out"
    compare(chosen, out, folder=tmp_path, watcher=Silent())
    run = out / "runs" / "features-seed0"
    whole, log = evidence_of(run), (run / "log.jsonl").read_text().splitlines(keepends=True)
    (run / "log.jsonl").write_text("".join(log[:-1]))
    (run / "checkpoints").mkdir()
    (run / f".tmp-{'0' * 32}").mkdir()
    assert evidence_of(run) != whole
    kept.verify_kept(out / "runs", lambda: None)
    assert evidence_of(run) == whole and not leftovers_in(run) and not (run / "checkpoints").exists()


def test_one_comparison_per_folder(recipe: Callable[..., Recipe], tmp_path: Path, start: Callable[[Job], Any]) -> None:
    job = Job(recipe(methods=["full"], save_steps=1000, max_steps=100_000), tmp_path / "out")
    process, deadline = start(job), time.monotonic() + 60
    while not (holder := owner(job.out)):
        assert time.monotonic() < deadline
        time.sleep(0.01)
    begun = time.monotonic()
    with pytest.raises(LockedError, match=f"process {process.pid} on .* has been working in this folder since"):
        compare(job.recipe, job.out, folder=tmp_path, watcher=Silent())
    assert holder["pid"] == process.pid and time.monotonic() - begun < 5
