"""Finding runs: every folder below a place that holds a record, readable or not."""

from __future__ import annotations

import os
from collections.abc import Iterator
from dataclasses import dataclass
from pathlib import Path

from tunewise.commit import owner
from tunewise.errors import StoreError
from tunewise.tracking.record import RECORD, RunRecord, read_record
from tunewise.tracking.run_folder import COMPARISON, CURVE, RECIPE, RUNS

DEPTH = 5  # a comparison keeps its runs two levels down; so one more of projects, and of months, fits


@dataclass(frozen=True)
class FoundRun:
    """A run folder with its record, or the reason why that cannot be read."""

    path: Path
    record: RunRecord | None
    problem: str | None = None

    @property
    def status(self) -> str:
        """`unreadable` without a record; `interrupted` where the record says running and no process owns the folder."""
        if self.record is None:
            return "unreadable"
        if self.record.status == "running" and owner(self.path) is None:
            return "interrupted"
        return self.record.status


@dataclass(frozen=True)
class RunRow:
    """A line of `tunewise runs`. What a run does not have is None; `low` and `high` bound the score's interval."""

    path: str
    status: str
    created: str | None = None
    method: str | None = None
    model: str | None = None
    seed: int | None = None
    split: str | None = None
    metric: str | None = None
    score: float | None = None
    low: float | None = None
    high: float | None = None
    train_seconds: float | None = None
    trainable_parameters: int | None = None
    saved_bytes: int | None = None
    problem: str | None = None


def find_runs(folder: Path) -> list[FoundRun]:
    """All runs in and below `folder`, oldest first; those with an unreadable record come last, and are never hidden.

    Raises:
        StoreError: there is no such folder.
    """
    found = [_look(path) for path, names in _folders(folder) if RECORD in names]
    return sorted(found, key=lambda run: (run.record is None, run.record.created if run.record else "", str(run.path)))


def find_folders(folder: Path) -> tuple[list[Path], list[Path]]:
    """The folders of all runs, and those of all comparisons, in and below `folder`, by name.

    Raises:
        StoreError: there is no such folder.
    """
    there = sorted(_folders(folder), key=lambda found: found[0])
    runs = [path for path, names in there if RECORD in names]
    return runs, [path for path, names in there if COMPARISON in names or CURVE in names or {RECIPE, RUNS} <= names]


def table_row(run: FoundRun, metric: str | None = None) -> RunRow:
    """A run as a line of a table, with its score on its first test set.

    Args:
        metric: which score; where left out, that of the run's recipe, else the task's usual one.
    """
    from tunewise.evaluate.metrics import default_metric

    record = run.record
    if record is None:
        return RunRow(path=str(run.path), status=run.status, problem=run.problem)
    split, scores = next(iter(record.scores.items()), (None, {}))
    metric = metric or record.recipe.get("metric") or (record.data and default_metric(record.data.schema["task"]))
    score = scores.get(metric)
    costs = record.costs
    return RunRow(
        path=str(run.path),
        status=run.status,
        created=record.created,
        method=record.method,
        model=record.model.name if record.model else record.recipe.get("model"),
        seed=record.seed,
        split=split,
        metric=metric,
        score=score.value if score else None,
        low=score.low if score else None,
        high=score.high if score else None,
        train_seconds=costs.train_seconds if costs else None,
        trainable_parameters=costs.trainable_parameters if costs else None,
        saved_bytes=costs.saved_bytes if costs else None,
        problem=record.error.what if record.error else None,
    )


def _folders(folder: Path) -> Iterator[tuple[Path, set[str]]]:
    """Every folder in which there may be runs, with the names of what is in it. Nothing inside a run is another one."""
    folder = Path(folder)
    if not folder.is_dir():
        raise StoreError(
            f"there is no folder {folder}", where=str(folder), fix="name a folder that was given as --out before"
        )
    for root, folders, files in os.walk(folder):
        here = Path(root)
        yield here, {*folders, *files}
        deep = len(here.relative_to(folder).parts) >= DEPTH
        folders[:] = [] if deep or RECORD in files else [name for name in folders if not name.startswith(".")]


def _look(path: Path) -> FoundRun:
    try:
        return FoundRun(path, read_record(path))
    except StoreError as exc:
        return FoundRun(path, None, str(exc))
