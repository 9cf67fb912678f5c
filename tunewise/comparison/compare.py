"""Many runs, one job: every model with every method and seed, and the baselines."""

from __future__ import annotations

import json
from dataclasses import dataclass, replace
from pathlib import Path
from typing import Any, Protocol

from tunewise.check import Checked, check
from tunewise.commit import lock, write_file
from tunewise.comparison.rates import Trial, list_trials, with_best_rates
from tunewise.comparison.results import Entry, build_comparison
from tunewise.comparison.schedule import Pool
from tunewise.comparison.worker import Task, probe, work
from tunewise.engine.cores import gpu_is_here, physical_cores, runs_that_fit
from tunewise.engine.stop import Stop
from tunewise.errors import Interrupted, StoreError
from tunewise.evaluate.baselines import baselines_for
from tunewise.methods import find_method
from tunewise.recipe import Recipe, write_recipe
from tunewise.report.html import render_html
from tunewise.tracking.record import RECORD, Problem, RunRecord, read_record, write_record
from tunewise.tracking.run_folder import stored_tuning, write_settings

CORE = ("torch", "transformers", "sklearn.linear_model", "pyarrow.parquet", "tunewise.run")
MOST_AT_A_TIME = 4


class Watcher(Protocol):
    """What is told of a comparison as it goes."""

    def on_plan(self, checked: Checked, entries: list[Entry], done: int, side_by_side: int) -> None: ...

    def on_start(self, entry: Entry) -> None: ...

    def on_message(self, entry: Entry, step: int, total: int, loss: float | None, scores: dict[str, float]) -> None: ...

    def on_end(self, entry: Entry, record: RunRecord, seconds: float) -> None: ...


@dataclass
class Comparison:
    """Where the results are, and what they are: `content` is that of comparison.json."""

    out: Path
    content: dict[str, Any]

    @property
    def report(self) -> Path:
        return self.out / "report.html"


def compare(
    recipe: Recipe,
    out: Path,
    *,
    folder: Path,
    watcher: Watcher,
    allow_code: bool = False,
    side_by_side: int | None = None,
) -> Comparison:
    """Runs what is not finished yet, and writes comparison.json and report.html.

    Args:
        out: the folder of the comparison; one that was begun with the same recipe goes on where it stopped.
        side_by_side: how many runs at a time; where left out, see `runs_at_a_time`.

    Raises:
        Interrupted: the user stopped it; what is finished is kept, and reported.
        TunewiseError: the recipe, the data or a model is wrong; nothing has run.
    """
    recipe = recipe.anchored(folder)
    checked = check(recipe, folder, recipe.all_methods, allow_code)
    entries = list_entries(recipe, checked, out)
    with lock(out), Stop() as stop:
        _claim(recipe, out)
        work_on = _Work(recipe, checked, out, folder, allow_code, watcher, stop, side_by_side)
        trials = list_trials(recipe, entries) if recipe.rate_grid else []
        work_on.announce([*trials, *(entry for entry in entries if not trials or entry.seed != recipe.all_seeds[0])])
        tried: list[Trial] = []
        if trials:
            work_on.carry_out(trials)
            entries, tried = with_best_rates(recipe, checked, entries, trials)
        work_on.carry_out(entries)
        content = build_comparison(recipe, checked, entries, tried)
        write_file(out / "comparison.json", json.dumps(content, indent=1, allow_nan=False))
        write_file(out / "report.html", render_html(content))
        if stop.requested and any(run["status"] != "finished" for run in content["runs"]):
            raise Interrupted(
                "stopped by the user; finished runs are kept", where=str(out), fix="run the same command again to go on"
            )
    return Comparison(out, content)


@dataclass
class _Work:
    """Carries out runs, each in a process of its own."""

    recipe: Recipe
    checked: Checked
    out: Path
    folder: Path
    allow_code: bool
    watcher: Watcher
    stop: Stop
    side_by_side: int | None

    def __post_init__(self) -> None:
        self.pool = Pool((*CORE, *_packages(self.recipe, self.checked), *_architectures(self.checked)))
        self.side_by_side = self.side_by_side or runs_at_a_time(self.recipe, self.checked)

    def announce(self, entries: list[Entry]) -> None:
        """Tells the watcher what is to come."""
        done = sum(_is_finished(entry, self.checked) for entry in entries)
        self.watcher.on_plan(self.checked, entries, done, self.side_by_side)

    def carry_out(self, entries: list[Entry]) -> None:
        """Runs what is not finished yet, until it is or the user stops it."""
        tasks = _unfinished(self.recipe, entries, self.folder, self.checked, self.allow_code)
        if not tasks or self.stop.requested:
            return
        tuned = _tuned(self.recipe, self.out, self.pool, self.side_by_side)

        def on_end(number: int, exit_code: int | None, seconds: float) -> None:
            self.watcher.on_end(entries[number], _ended(entries[number], exit_code), seconds)

        self.pool.run(
            [(number, replace(task, tuned=tuned)) for number, task in tasks],
            work,
            self.side_by_side,
            self.stop,
            on_start=lambda number: self.watcher.on_start(entries[number]),
            on_message=lambda number, said: self.watcher.on_message(entries[number], *said),
            on_end=on_end,
        )


def list_entries(recipe: Recipe, checked: Checked, out: Path) -> list[Entry]:
    """Every run of the comparison, cheap ones first: baselines, then seed by seed, so that an early stop leaves whole
    rounds."""
    entries = [
        Entry(name, name, "-", recipe.all_seeds[0], "baseline", out / "runs" / name)
        for name in baselines_for(checked.data.schema.task)
    ]
    several = len(recipe.all_models) > 1
    for seed in recipe.all_seeds:
        for place, model in enumerate(recipe.all_models):
            for number, choice in enumerate(recipe.all_methods):
                if not checked.runs(choice.label, model):
                    continue
                kind = "control" if find_method(choice.name).control else "method"
                name = f"{choice.label} @ {Path(model).name}" if several else choice.label
                repeated = sum(other.name == choice.name for other in recipe.all_methods) > 1
                parts = [choice.name + (f"-{number}" if repeated else ""), *([f"model{place}"] if several else [])]
                where = out / "runs" / "-".join([*parts, f"seed{seed}"])
                entries.append(Entry(name, choice.label, model, seed, kind, where, choice))
    return entries


def runs_at_a_time(recipe: Recipe, checked: Checked) -> int:
    """One per core, at most 4 and as many as fit into memory, one thread each: the steps of small models leave most of
    a second core unused. With a GPU one at a time."""
    if recipe.train.device not in ("auto", "cpu") or (recipe.train.device == "auto" and gpu_is_here()):
        return 1
    fitting = min(runs_that_fit(located.path) for located in checked.models.values())
    return max(1, min(physical_cores(), MOST_AT_A_TIME, fitting))


def _claim(recipe: Recipe, out: Path) -> None:
    """Stores the recipe in a new folder; refuses one that holds something else."""
    stored = out / "recipe.yaml"
    text = write_recipe(recipe)
    if stored.is_file() and stored.read_text(encoding="utf-8") != text:
        raise StoreError(
            "the comparison in this folder was begun with another recipe",
            where=str(stored),
            fix="give another --out, or that recipe",
        )
    if not stored.is_file() and any(not child.name.startswith(".") for child in out.iterdir()):
        raise StoreError("the folder is not empty, and holds no comparison", where=str(out), fix="give another --out")
    write_settings(out, text, None)


def _packages(recipe: Recipe, checked: Checked) -> list[str]:
    choices = (
        choice for choice in recipe.all_methods for model in recipe.all_models if checked.runs(choice.label, model)
    )
    return sorted({package for choice in choices for package in find_method(choice.name).packages})


def _architectures(checked: Checked) -> list[str]:
    return sorted({f"transformers.models.{located.family.replace('-', '_')}" for located in checked.models.values()})


def _tuned(recipe: Recipe, out: Path, pool: Pool, side_by_side: int) -> dict[str, Any]:
    """Decided once for all runs, and kept where the comparison goes on."""
    stored = stored_tuning(out)
    if stored is None:
        question = Task(recipe.as_dict(), "", "", {"side_by_side": side_by_side}, "", False, ())
        stored = pool.ask(probe, question)
        write_settings(out, write_recipe(recipe), stored)
    return stored


def _unfinished(
    recipe: Recipe, entries: list[Entry], folder: Path, checked: Checked, allow_code: bool
) -> list[tuple[int, Task]]:
    tasks = []
    for number, entry in enumerate(entries):
        if _is_finished(entry, checked):
            continue
        choice = entry.choice or recipe.all_methods[0]
        single = recipe.for_run(entry.model if entry.choice else recipe.all_models[0], choice, entry.seed)
        packages = (*CORE, *find_method(choice.name).packages, *_architectures(checked))
        tasks.append(
            (
                number,
                Task(
                    single.as_dict(),
                    str(entry.folder),
                    str(folder),
                    {},
                    checked.data.fingerprint,
                    allow_code,
                    packages,
                    entry.name if entry.kind == "baseline" else None,
                ),
            )
        )
    return tasks


def _is_finished(entry: Entry, checked: Checked) -> bool:
    """Whether a run needs no work.

    Raises:
        StoreError: it was made on other data than what the recipe names now.
    """
    record = read_record(entry.folder) if (entry.folder / RECORD).is_file() else None
    if record is None or record.status != "finished":
        return False
    if record.data is None or record.data.fingerprint != checked.data.fingerprint:
        raise StoreError(
            "the data has changed since this comparison began",
            where=str(entry.folder),
            fix="put the data back, or give another --out",
        )
    return True


def _ended(entry: Entry, exit_code: int | None) -> RunRecord:
    """The record of a run whose process has ended; one that died without a word is marked as failed."""
    if not (entry.folder / RECORD).is_file():
        problem = Problem(f"the process ended with exit code {exit_code} before the run began", str(entry.folder))
        method = entry.choice.label if entry.choice else entry.name
        record = RunRecord(status="failed", method=method, seed=entry.seed, recipe={}, error=problem)
        entry.folder.mkdir(parents=True, exist_ok=True)
        write_record(entry.folder, record)
        return record
    record = read_record(entry.folder)
    if record.status == "running":
        cause = "it was killed, perhaps because memory ran out" if exit_code and exit_code < 0 else "it died"
        problem = Problem(f"{cause} (exit code {exit_code})", str(entry.folder), "run the same command again")
        record = replace(record, status="failed", error=problem)
        write_record(entry.folder, record)
    return record
