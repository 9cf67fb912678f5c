"""Many runs, one job: every model with every method and seed, and the baselines."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass, replace
from itertools import product
from pathlib import Path
from typing import Any, Protocol

from tunewise.check import OR_AN_ADAPTER, Checked, Found, check
from tunewise.commit import lock, sealed, sealed_page, sweep, write_file
from tunewise.commit.room import check_room, check_writable
from tunewise.comparison.entry import Entry
from tunewise.comparison.folds import Folds, read_folds
from tunewise.comparison.imports import all_packages, packages_of
from tunewise.comparison.kept import verify_kept
from tunewise.comparison.rates import is_tried, list_trials, with_best_rates
from tunewise.comparison.records import Records
from tunewise.comparison.results import build_comparison
from tunewise.comparison.schedule import Pool
from tunewise.comparison.soups import check_soups, is_made, list_soups, ready
from tunewise.comparison.stacks import stacked, stacks_trials
from tunewise.comparison.worker import Task, probe, work
from tunewise.engine.cores import gpu_is_here, physical_cores, runs_that_fit
from tunewise.engine.stop import Stop
from tunewise.errors import Interrupted, StoreError
from tunewise.evaluate.baselines import baselines_for
from tunewise.methods import find_method
from tunewise.recipe import MethodChoice, Recipe, write_recipe
from tunewise.report.html import render_html
from tunewise.tracking.record import Problem, RunRecord, write_record
from tunewise.tracking.run_folder import COMPARISON, REPORT, stored_tuning, write_settings

MOST_AT_A_TIME = 4
GO_ON = "run the same command again to go on"


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
        return self.out / REPORT


def compare(
    recipe: Recipe,
    out: Path,
    *,
    folder: Path,
    watcher: Watcher,
    allow_code: bool = False,
    side_by_side: int | None = None,
) -> Comparison:
    """Runs what is not finished yet, and writes comparison.json and report.html. What has finished is verified: a run
    whose files are damaged is run again, with a warning.

    Args:
        out: the folder of the comparison; one that was begun with the same recipe goes on where it stopped.
        side_by_side: how many runs at a time; where left out, see `runs_at_a_time`.

    Raises:
        Interrupted: the user stopped it; what is finished is kept, and reported.
        TunewiseError: the recipe, the data or a model is wrong; nothing has run.
    """
    recipe = recipe.anchored(folder)
    check_writable(out)
    folds = read_folds(recipe, folder)
    checked = check(recipe, folder, recipe.all_methods, allow_code, folds and folds.found(1))
    check_soups(recipe, checked)
    entries = list_entries(recipe, checked, out)
    with lock(out), Stop(fix=GO_ON) as stop:
        claim(recipe, out)
        verify_kept(out / "runs", stop.check)
        work_on = Work(recipe, checked, out, folder, allow_code, watcher, stop, side_by_side, folds)
        trials = list_trials(recipe, entries) if recipe.rate_grid else []
        planned, tried = entries, []
        if trials:  # with the best rates of an earlier job, so that what it finished with them is counted
            planned, _ = with_best_rates(recipe, checked, entries, trials, work_on.records)
        rest = [entry for entry in planned if not trials or not is_tried(recipe, entry)]
        work_on.announce([*trials, *rest, *list_soups(recipe, planned, trials, out)])
        if trials:
            work_on.carry_out(trials, stacks=stacks_trials(recipe, checked))
            entries, tried = with_best_rates(recipe, checked, entries, trials, work_on.records)
        work_on.carry_out(entries)
        soups = list_soups(recipe, entries, trials, out)
        work_on.carry_out(ready(soups, work_on.records))
        entries = [*entries, *soups]
        content = build_comparison(recipe, checked, entries, work_on.records, tried, folds)
        write_results(out, content)
        work_on.check_finished(content)
    return Comparison(out, content)


def write_results(out: Path, content: dict[str, Any]) -> None:
    """Writes comparison.json, then the report that is made of it."""
    write_file(out / COMPARISON, sealed(content))
    write_file(out / REPORT, sealed_page(render_html(content)))


@dataclass
class Work:
    """Carries out runs, each in a process of its own."""

    recipe: Recipe
    checked: Checked
    out: Path
    folder: Path
    allow_code: bool
    watcher: Watcher
    stop: Stop
    side_by_side: int | None
    folds: Folds | None = None

    def __post_init__(self) -> None:
        self.pool = Pool(all_packages(self.recipe, self.checked))
        self.side_by_side = self.side_by_side or runs_at_a_time(self.recipe, self.checked)
        self.records = Records()

    def recipe_of(self, model: str, choice: MethodChoice, entry: Entry) -> Recipe:
        """What a run is told to do."""
        return self.recipe.for_run(model, choice, entry.seed, entry.fold)

    def found_of(self, entry: Entry) -> Found:
        """The data and models that a run reads."""
        return self.folds.found(entry.fold) if self.folds else self.checked.found

    def announce(self, entries: list[Entry]) -> None:
        """Tells the watcher what is to come."""
        done = sum(self._is_finished(entry) for entry in entries)
        self.watcher.on_plan(self.checked, entries, done, self.side_by_side)

    def carry_out(self, entries: list[Entry], stacks: bool = False) -> None:
        """Runs what is not finished yet, until it is or the user stops it.

        Args:
            stacks: runs that differ in their rate alone may train in one pass over the base.
        """
        waiting = [entry for entry in entries if not self._is_finished(entry)]
        if not waiting or self.stop.requested:
            return
        self._check_room(waiting)
        tuned = self._tuned()

        def most(entry: Entry) -> int:
            return tuned[entry.model].get("stacked", 1)

        jobs = stacked(waiting, most, self.side_by_side, stacks)

        def on_start(number: int) -> None:
            for entry in jobs[number]:
                self.watcher.on_start(entry)

        def on_message(number: int, said: tuple[Any, ...]) -> None:
            place, *rest = said
            self.watcher.on_message(jobs[number][place], *rest)

        def on_end(number: int, exit_code: int | None, seconds: float) -> None:
            for entry in jobs[number]:
                self.watcher.on_end(entry, self._ended(entry, exit_code), seconds)

        tasks = [(number, [self._task(entry, tuned) for entry in job]) for number, job in enumerate(jobs)]
        self.pool.run(tasks, work, self.side_by_side, self.stop, on_start, on_message, on_end)

    def check_finished(self, content: Mapping[str, Any]) -> None:
        """Raises where the user stopped it before everything in these results was finished.

        Raises:
            Interrupted
        """
        if self.stop.requested and any(run["status"] != "finished" for run in content["runs"]):
            raise Interrupted("stopped by the user; finished runs are kept", where=str(self.out), fix=GO_ON)

    def _check_room(self, entries: list[Entry]) -> None:
        """Every run keeps its model; whether its checkpoints fit, each looks itself once it knows what trains."""
        trained = [entry for entry in entries if entry.choice]
        needed = sum(self.checked.handed_over_bytes(entry.model, entry.choice) for entry in trained)
        check_room(self.out, needed, f"the models of {len(trained)} runs", OR_AN_ADAPTER)

    def _tuned(self) -> dict[str, dict[str, Any]]:
        """What is fitted to the machine, by model: decided once for all runs, and kept where the comparison goes on."""
        stored = stored_tuning(self.out)
        if stored is None:
            found = {model: self.pool.ask(probe, self._question(model), self.stop) for model in self.checked.models}
            stored = {"models": found}
            write_settings(self.out, write_recipe(self.recipe), stored)
        # Comparisons of tunewise 0.1 had one for all models.
        return stored.get("models") or dict.fromkeys(self.checked.models, stored)

    def _question(self, model: str) -> Task:
        single = self.recipe.for_run(model, self.recipe.all_methods[0], 0)
        how = {"side_by_side": self.side_by_side, "stacks": stacks_trials(self.recipe, self.checked)}
        return Task(single.as_dict(), "", str(self.folder), how, self.checked.found.only(model), self.allow_code, ())

    def _task(self, entry: Entry, tuned: dict[str, dict[str, Any]]) -> Task:
        choice = entry.choice or self.recipe.all_methods[0]
        model = entry.model if entry.choice else self.recipe.all_models[0]
        return Task(
            recipe=self.recipe_of(model, choice, entry).as_dict(),
            out=str(entry.folder),
            folder=str(self.folder),
            tuned=tuned[model],
            found=self.found_of(entry).only(model),
            allow_code=self.allow_code,
            packages=packages_of(choice.name, self.checked.models[model]),
            baseline=entry.name if entry.kind == "baseline" else None,
            soup=entry.soup and (entry.soup, entry.method, [str(folder) for folder in entry.members], entry.warnings),
        )

    def _is_finished(self, entry: Entry) -> bool:
        """Whether a run needs no work.

        Raises:
            StoreError: it was made on other data than what the recipe names now.
        """
        record = self.records.finished(entry.folder)
        if record is None:
            return False
        if record.data is None or record.data.fingerprint != self.found_of(entry).data.fingerprint:
            raise StoreError(
                "the data has changed since this comparison began",
                where=str(entry.folder),
                fix="put the data back, or give another --out",
            )
        if entry.soup and not is_made(entry, self.records):
            self.records.forget(entry.folder)
            return False
        return True

    def _ended(self, entry: Entry, exit_code: int | None) -> RunRecord:
        """The record of a run whose process has ended; one that died without a word is marked as failed, or as
        interrupted where it was told to stop."""
        record, status = self.records.read(entry.folder), "interrupted" if self.stop.requested else "failed"
        if record is None:
            how = "was killed" if exit_code is None else f"ended with exit code {exit_code}"
            problem = Problem(f"the process {how} before the run began", str(entry.folder))
            method = entry.choice.label if entry.choice and not entry.soup else entry.name
            record = RunRecord(status=status, method=method, seed=entry.seed, recipe={}, error=problem)
            write_record(entry.folder, record)
        elif record.status == "running":
            cause = "it was killed, perhaps because memory ran out" if exit_code and exit_code < 0 else "it died"
            problem = Problem(f"{cause} (exit code {exit_code})", str(entry.folder), "run the same command again")
            record = replace(record, status=status, error=problem)
            write_record(entry.folder, record)
        return record


def list_entries(recipe: Recipe, checked: Checked, out: Path) -> list[Entry]:
    """Every run of the comparison, cheap ones first: baselines, then seed by seed, and fold by fold, so that an early
    stop leaves whole rounds."""
    folds = range(1, recipe.data.folds + 1) if recipe.data.folds else (None,)
    entries = [
        Entry(
            name, name, "-", recipe.all_seeds[0], "baseline", out / "runs" / "-".join([name, *_part(fold)]), fold=fold
        )
        for fold in folds
        for name in baselines_for(checked.data.schema.task, bool(checked.data.schema.image))
    ]
    several = len(recipe.all_models) > 1
    for seed, fold in product(recipe.all_seeds, folds):
        for place, model in enumerate(recipe.all_models):
            for number, choice in enumerate(recipe.all_methods):
                if not checked.runs(choice.label, model):
                    continue
                kind = "control" if find_method(choice.name).control else "method"
                name = f"{choice.label} @ {Path(model).name}" if several else choice.label
                repeated = sum(other.name == choice.name for other in recipe.all_methods) > 1
                parts = [choice.name + (f"-{number}" if repeated else ""), *([f"model{place}"] if several else [])]
                where = out / "runs" / "-".join([*parts, *_part(fold), f"seed{seed}"])
                entries.append(Entry(name, choice.label, model, seed, kind, where, choice, fold=fold))
    return entries


def _part(fold: int | None) -> list[str]:
    """What a fold adds to the name of a run's folder."""
    return [] if fold is None else [f"fold{fold}"]


def runs_at_a_time(recipe: Recipe, checked: Checked) -> int:
    """One per core, at most 4 and as many as fit into memory, one thread each: the steps of small models leave most of
    a second core unused. With a GPU one at a time."""
    if recipe.train.device not in ("auto", "cpu") or (recipe.train.device == "auto" and gpu_is_here()):
        return 1
    fitting = min(runs_that_fit(located.path) for located in checked.models.values())
    return max(1, min(physical_cores(), MOST_AT_A_TIME, fitting))


def claim(recipe: Recipe, out: Path) -> None:
    """Clears what a killed job left, and stores the recipe in a new folder; refuses one that holds something else."""
    sweep(out)
    stored = out / "recipe.yaml"
    text = write_recipe(recipe)
    if stored.is_file() and stored.read_bytes() != text.encode():
        raise StoreError(
            "the comparison in this folder was begun with another recipe",
            where=str(stored),
            fix="give another --out, or that recipe",
        )
    if not stored.is_file() and any(not child.name.startswith(".") for child in out.iterdir()):
        raise StoreError("the folder is not empty, and holds no comparison", where=str(out), fix="give another --out")
    write_settings(out, text, None)
