"""Runs that an earlier job of a comparison has finished: verified before they count again."""

from __future__ import annotations

import warnings
from collections.abc import Callable
from dataclasses import replace
from pathlib import Path

from tunewise.commit import damages, lock, sweep
from tunewise.errors import StoreError, TunewiseWarning
from tunewise.tracking.record import RECORD, Problem, RunRecord, read_record, write_record
from tunewise.tracking.run_folder import MODEL, PREDICTIONS, complete
from tunewise.types import CARD


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
        if problem := damage(folder, record):
            write_record(folder, replace(record, status="failed", error=Problem.of(problem)))
            told = f"the run {folder.name} had finished, but is damaged, and is run again: {problem.what}"
            warnings.warn(TunewiseWarning(f"{told} ({problem.where})"), stacklevel=2)


def damage(folder: Path, record: RunRecord) -> StoreError | None:
    """What is wrong with the files of a finished run: the first found in its predictions and its model."""
    found = damages(folder / PREDICTIONS)
    if record.handover is not None:
        found += damages(folder / MODEL, editable=(CARD,))
    return found[0] if found else None
