"""Whether what runs and comparisons left on disk is still as they wrote it. Reads everything, and changes nothing."""

from __future__ import annotations

from collections.abc import Callable, Iterable, Iterator
from dataclasses import dataclass
from pathlib import Path
from typing import Literal

from tunewise.commit import Series, check_page, damages, leftovers, owner, unsealed
from tunewise.commit.files import explained
from tunewise.config.yaml_file import read_yaml
from tunewise.errors import CorruptError, RecipeError, StoreError
from tunewise.tracking.jsonl_log import has_ended, unreadable_rows
from tunewise.tracking.record import RECORD, RunRecord, read_record
from tunewise.tracking.run_folder import (
    CHECKPOINTS,
    COMPARISON,
    CURVE,
    CURVE_PAGE,
    LOG,
    MODEL,
    PREDICTIONS,
    RECIPE,
    REPORT,
    TUNED,
    stored_tuning,
)
from tunewise.tracking.shown import SHOWN
from tunewise.types import CARD

AGAIN = "run the same command again: it writes this file anew, and keeps the runs that have finished"


@dataclass(frozen=True)
class Damage:
    """A file that is not as it was written, by its path in the folder; what is wrong with it, and what to do."""

    file: str
    what: str
    fix: str | None


@dataclass(frozen=True)
class Verified:
    """What was found of a run or a comparison.

    Attributes:
        status: of a run, as `tunewise runs` shows it; of a comparison, `complete` or `unfinished`.
        leftovers: what killed processes have staged or moved aside; a run that goes on clears them.
        note: what else there is to know.
    """

    path: Path
    kind: Literal["run", "comparison"]
    status: str
    damages: tuple[Damage, ...]
    leftovers: tuple[str, ...] = ()
    note: str | None = None

    @property
    def ok(self) -> bool:
        return not self.damages


def verify_run(folder: Path) -> Verified:
    """Compares every file of a run with the manifest or the seal that was written with it."""
    if holder := owner(folder):
        note = f"process {holder['pid']} on {holder['host']} is at work in it: verified when it has finished"
        return Verified(folder, "run", "running", (), note=note)
    record, problems, note = None, [], None
    try:
        record = read_record(folder)
    except StoreError as problem:
        problems.append(problem)
    problems += _problems(folder, record)
    status = "unreadable" if record is None else record.status
    if status == "running":
        status, note = "interrupted", "it was killed; the command that began it goes on with it (train: with --resume)"
    staged = [*leftovers(folder), *leftovers(folder / CHECKPOINTS)]
    return Verified(folder, "run", status, _damages(folder, problems), _names(folder, staged), note)


def verify_comparison(folder: Path) -> Verified:
    """Compares the files of a comparison beside its runs with their seals, and looks whether its runs are there."""
    if holder := owner(folder):
        note = f"process {holder['pid']} on {holder['host']} is at work in it: verified when it has finished"
        return Verified(folder, "comparison", "running", (), note=note)
    staged = _names(folder, leftovers(folder))
    results = [pair for pair in ((COMPARISON, REPORT), (CURVE, CURVE_PAGE)) if (folder / pair[0]).is_file()]
    if not results:
        problems = _caught(lambda: stored_tuning(folder))
        note = "it has not come to its end; the command that began it goes on with it"
        return Verified(folder, "comparison", "unfinished", _damages(folder, problems), staged, note)
    problems = _caught(lambda: stored_tuning(folder))
    for file, page in results:
        problems += [*_of_comparison(folder, folder / file), *_of_page(folder / page)]
    return Verified(folder, "comparison", "complete", _damages(folder, problems), staged)


def _problems(folder: Path, record: RunRecord | None) -> Iterator[StoreError]:
    """All that is wrong beside the record. A baseline trains nothing, so it has predictions alone; a soup takes no
    steps, so it has no recipe or log of its own."""
    finished = record is not None and record.status == "finished"
    has_model = record is not None and "device" in record.tuned
    trains = has_model and not record.soup
    yield from _of_settings(folder, record if trains else None)
    yield from _of_log(folder / LOG, needed=finished and trains)
    yield from damaged_results(folder, model=finished and has_model, predictions=finished)
    yield from Series(folder / CHECKPOINTS).damages()


def _of_settings(folder: Path, record: RunRecord | None) -> Iterator[StoreError]:
    try:
        tuned = stored_tuning(folder)
        if record and tuned != {key: value for key, value in record.tuned.items() if key != "recipe"}:
            yield _differs(folder / TUNED, there=tuned is not None)
    except StoreError as problem:
        yield problem
    if record:
        try:
            if read_yaml(folder / RECIPE).data != record.recipe:
                yield _differs(folder / RECIPE, there=True)
        except RecipeError:
            yield _differs(folder / RECIPE, there=(folder / RECIPE).is_file())


def _differs(file: Path, there: bool) -> CorruptError:
    what = f"{file.name} is not what {RECORD} says of it" if there else f"a file is missing: {file.name}"
    return CorruptError(what, where=str(file), fix=f"restore it from a copy; {RECORD} holds the same")


def _of_log(log: Path, needed: bool) -> Iterator[StoreError]:
    if not log.is_file():
        if needed:
            yield CorruptError(f"a file is missing: {log.name}", where=str(log), fix="restore it from a copy")
        return
    fix = "restore it from a copy; model, scores and curve do not depend on it"
    try:
        yield from (CorruptError(what, where=str(log), fix=fix) for what in unreadable_rows(log))
        if needed and not has_ended(log):
            yield CorruptError(f"{log.name} ends before the run did", where=str(log), fix=fix)
    except StoreError as problem:
        yield problem


def damaged_results(folder: Path, *, model: bool, predictions: bool) -> list[StoreError]:
    """What is wrong with the model and the predictions of a run; each must be there only where it is said to be."""
    folders = [*_of_folder(folder / MODEL, model), *_of_folder(folder / PREDICTIONS, predictions)]
    return [*folders, *(problem for file in SHOWN for problem in file.damages(folder))]


def _of_folder(folder: Path, needed: bool) -> list[StoreError]:
    if folder.is_dir():
        return damages(folder, editable=(CARD,) if folder.name == MODEL else ())
    missing = CorruptError(f"the folder is missing: {folder.name}", where=str(folder), fix="restore it from a copy")
    return [missing] if needed else []


def _of_comparison(folder: Path, file: Path) -> Iterator[StoreError]:
    try:
        with explained("read", file):
            content = unsealed(file.read_bytes(), file)
    except StoreError as problem:
        yield type(problem)(problem.what, where=problem.where, fix=AGAIN)
        return
    for run in content.get("runs", []):
        if run["status"] == "finished" and not (folder / run["folder"] / RECORD).is_file():
            where = folder / run["folder"] / RECORD
            yield CorruptError(
                f"the record of {run['name']} is missing", where=str(where), fix="restore the run's folder"
            )


def _of_page(page: Path) -> Iterator[StoreError]:
    if not page.is_file():
        yield CorruptError(f"a file is missing: {page.name}", where=str(page), fix=AGAIN)
        return
    try:
        with explained("read", page):
            check_page(page.read_bytes(), page)
    except StoreError as problem:
        yield type(problem)(problem.what, where=problem.where, fix=AGAIN)


def _caught(read: Callable[[], object]) -> list[StoreError]:
    try:
        read()
    except StoreError as problem:
        return [problem]
    return []


def _damages(folder: Path, problems: Iterable[StoreError]) -> tuple[Damage, ...]:
    return tuple(Damage(_inside(folder, problem.where), problem.what, problem.fix) for problem in problems)


def _inside(folder: Path, where: str | None) -> str:
    path = Path(where or folder)
    return path.relative_to(folder).as_posix() if path.is_relative_to(folder) else str(path)


def _names(folder: Path, paths: Iterable[Path]) -> tuple[str, ...]:
    return tuple(path.relative_to(folder).as_posix() for path in paths)
