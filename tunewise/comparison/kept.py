"""Runs that an earlier job of a comparison has finished: verified before they count again."""

from __future__ import annotations

import warnings
from collections.abc import Callable
from dataclasses import replace
from pathlib import Path

from tunewise.commit import lock, sweep
from tunewise.errors import TunewiseWarning
from tunewise.tracking.record import RECORD, Problem, RunRecord, read_record, write_record
from tunewise.tracking.run_folder import complete
from tunewise.tracking.verification import damaged_results


def verify_kept(runs: Path, stop: Callable[[], None]) -> None:
    """Reads every file of every finished run in the folder `runs`, and ends what a killed one did not come to. One that
    is damaged is named in a warning and marked as failed, so that it is run again.

    Args:
        stop: is called before each, and may raise.

    Raises:
        CorruptError: a record is damaged, so that nothing tells what the run was.
        LockedError: another process works on one.
    """
    for place in sorted(runs.glob(f"*/{RECORD}")):
        stop()
        record = read_record(place.parent)
        if record.status == "finished":
            _verify(place.parent, record)


def _verify(folder: Path, record: RunRecord) -> None:
    with lock(folder):
        sweep(folder)
        complete(folder)
        problems = damaged_results(folder, model=record.handover is not None, predictions=True)
        if problems:
            problem = problems[0]
            write_record(folder, replace(record, status="failed", error=Problem.of(problem)))
            told = f"the run {folder.name} had finished, but is damaged, and is run again: {problem.what}"
            warnings.warn(TunewiseWarning(f"{told} ({problem.where})"), stacklevel=2)
