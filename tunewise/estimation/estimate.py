"""What a recipe will cost: each method measured for some seconds in a process of its own, the rest calculated."""

from __future__ import annotations

import time
from collections.abc import Callable, Sequence
from dataclasses import dataclass, replace
from pathlib import Path
from tempfile import gettempdir
from typing import Any, Protocol

from tunewise.check import Checked, check
from tunewise.commit.leftovers import scratch_folder
from tunewise.comparison.compare import list_entries, runs_at_a_time
from tunewise.comparison.entry import Entry
from tunewise.comparison.folds import refuse_single_fold
from tunewise.comparison.imports import all_packages, packages_of
from tunewise.comparison.schedule import Pool
from tunewise.comparison.worker import Task, probe
from tunewise.engine.stop import Stop
from tunewise.errors import Interrupted, RecipeError
from tunewise.estimation.answers import Answer, Question, Refused, RunCost
from tunewise.estimation.process import TOO_LARGE, answer, died, run_for_real
from tunewise.estimation.resources import Resources, free_resources
from tunewise.estimation.results import Estimate, RunEstimate, judged, warnings_of
from tunewise.estimation.whole import whole_of
from tunewise.recipe import MethodChoice, Recipe
from tunewise.report.figures import size
from tunewise.tracking.record import RECORD, Problem, RunRecord, read_record
from tunewise.types import Costs

BUDGET = 5.0
"""Seconds of training that are carried out of each run."""

AGAIN = "run the same command again"

RESERVE = 0.02
"""Share of the free memory that a calibration leaves free."""


class Watcher(Protocol):
    """What is told of an estimate as it goes."""

    def on_plan(self, names: Sequence[str], side_by_side: int) -> None: ...

    def on_message(self, name: str, words: str) -> None: ...

    def on_end(self, name: str, said: Answer | Costs, seconds: float) -> None: ...


def estimate(
    recipe: Recipe,
    *,
    folder: Path,
    out: Path,
    watcher: Watcher,
    allow_code: bool = False,
    side_by_side: int | None = None,
    budget: float = BUDGET,
    validate: bool = False,
    look_at: Callable[[Path], Resources] = free_resources,
) -> Estimate:
    """Calibrates every method with every model of the recipe. Leaves nothing behind.

    Args:
        folder: what relative paths in the recipe start from.
        out: where results would go: nothing is written there, its disk is what must suffice.
        side_by_side: how many runs at a time; where left out, as many as `compare` takes.
        budget: seconds of training to carry out, for each method.
        validate: train with each method too, and keep what that cost beside the estimate.
        look_at: tells what the machine has free.

    Raises:
        Interrupted: the user stopped it.
        TunewiseError: the recipe, the data or a model is wrong.
    """
    begun = time.perf_counter()
    recipe = recipe.anchored(folder)
    refuse_single_fold(recipe)
    checked = check(recipe, folder, recipe.all_methods, allow_code)
    _refuse_writing(checked)
    reading = time.perf_counter() - begun
    free = look_at(out.resolve())
    # `patient`: the processes end at once as it is, and what they wrote has to be deleted.
    with Stop(patient=True, fix=AGAIN) as stop, scratch_folder(Path(gettempdir())) as scratch:
        side_by_side = side_by_side or runs_at_a_time(recipe, checked)
        work = _Work(recipe, checked, folder, allow_code, side_by_side, budget, free, watcher, stop, scratch)
        return work.carry_out(list_entries(recipe, checked, out), reading, validate)


def _refuse_writing(checked: Checked) -> None:
    """Refuses what cannot be told beforehand.

    Raises:
        RecipeError: the model learns from answers that it writes itself.
    """
    objective = checked.objective
    if objective.writes:
        raise RecipeError(
            "what a step costs depends on how much the model writes, and that changes while it learns: there is no "
            "estimate",
            where=f"objective.{objective.name}",
            fix="train a few steps and multiply what their record says: tunewise train RECIPE --set train.max_steps=5",
        )


@dataclass
class _Work:
    """Asks what runs cost, as many at a time as the comparison would carry out."""

    recipe: Recipe
    checked: Checked
    folder: Path
    allow_code: bool
    side_by_side: int
    budget: float
    free: Resources
    watcher: Watcher
    stop: Stop
    scratch: Path

    def __post_init__(self) -> None:
        self.pool = Pool(all_packages(self.recipe, self.checked))

    def carry_out(self, entries: Sequence[Entry], reading: float, validate: bool) -> Estimate:
        """The estimate of all runs, from one of each name: those differ in the seed alone."""
        firsts = {entry.name: entry for entry in reversed(entries)}
        asked = [firsts[name] for name in dict.fromkeys(entry.name for entry in entries)]
        begun = time.perf_counter()
        tuned = self._tuned()
        before = reading + time.perf_counter() - begun  # the fork server has done the imports
        answers = self._answers(asked, tuned)
        on_cpu = all(found["device"] == "cpu" for found in tuned.values())
        methods = [entry for entry in asked if entry.choice is not None]
        runs = tuple(judged(_estimated(entry, answers[entry.name]), self.free, on_cpu) for entry in methods)
        if validate:
            runs = self._validated(runs, methods, tuned)
        costs = {name: found for name, found in answers.items() if isinstance(found, RunCost)}
        whole = whole_of(self.recipe, entries, lambda entry: costs.get(entry.name), self.side_by_side, before)
        return Estimate(self.free, tuned, runs, whole, warnings_of(whole, runs, self.free, on_cpu))

    def _tuned(self) -> dict[str, dict[str, Any]]:
        """What a comparison would fit to the machine, by model."""
        how, first = {"side_by_side": self.side_by_side}, self.recipe.all_methods[0]
        return {
            model: self.pool.ask(probe, self._task(model, first, tuned=how), self.stop) for model in self.checked.models
        }

    def _task(self, model: str, choice: MethodChoice, **more: Any) -> Task:
        plain = {"recipe": self.recipe.for_run(model, choice, self.recipe.all_seeds[0]).as_dict(), "out": "", **more}
        return Task(
            folder=str(self.folder),
            found=self.checked.found.only(model),
            allow_code=self.allow_code,
            packages=packages_of(choice.name, self.checked.models[model]),
            **plain,
        )

    def _answers(self, entries: Sequence[Entry], tuned: dict[str, dict[str, Any]]) -> dict[str, Answer]:
        """By name; what cannot fit is not begun."""
        names = [entry.name for entry in entries]
        found: dict[str, Answer] = {entry.name: refused for entry in entries if (refused := self._too_large(entry))}
        self.watcher.on_plan(names, self.side_by_side)

        def on_message(number: int, said: str | Answer) -> None:
            if isinstance(said, str):
                self.watcher.on_message(names[number], said)
            else:
                found[names[number]] = said

        def on_end(number: int, exit_code: int | None, seconds: float) -> None:
            said = found.setdefault(names[number], died(exit_code))
            self.watcher.on_end(names[number], said, seconds)

        self._run(
            [
                (number, self._question(entry, tuned, f"run-{number}"))
                for number, entry in enumerate(entries)
                if entry.name not in found
            ],
            answer,
            on_message,
            on_end,
        )
        return found

    def _run(
        self,
        tasks: list[tuple[int, Question]],
        target: Callable[..., None],
        on_message: Callable[[int, Any], None],
        on_end: Callable[[int, int | None, float], None],
    ) -> None:
        self.pool.run(tasks, target, self.side_by_side, self.stop, lambda number: None, on_message, on_end)
        if self.stop.requested:
            raise Interrupted("stopped by the user", fix=AGAIN)

    def _too_large(self, entry: Entry) -> Refused | None:
        """A model whose weights alone are more than what is free need not be tried."""
        if entry.choice is None:
            return None
        located = self.checked.models[entry.model]
        weights = sum(file.stat().st_size for file in located.path.glob("*.safetensors"))
        if weights <= self.free.memory_bytes:
            return None
        told = f"its weights are {size(weights)}; {size(self.free.memory_bytes)} of memory are free"
        return Refused(Problem(f"it does not fit into memory: {told}", str(located.path), TOO_LARGE), fits=False)

    def _question(self, entry: Entry, tuned: dict[str, dict[str, Any]], name: str) -> Question:
        model = entry.model if entry.choice else self.recipe.all_models[0]
        choice, baseline = entry.choice or self.recipe.all_methods[0], None if entry.choice else entry.name
        scratch = self.scratch / name
        scratch.mkdir()
        task = self._task(model, choice, tuned=tuned[model], out=str(scratch / "run"), baseline=baseline)
        return Question(task, str(scratch), self.budget, int(RESERVE * self.free.memory_bytes))

    def _validated(
        self, runs: tuple[RunEstimate, ...], entries: Sequence[Entry], tuned: dict[str, dict[str, Any]]
    ) -> tuple[RunEstimate, ...]:
        """With what a real run of each cost, in folders that are deleted after."""
        names = {number: f"{run.name}, for real" for number, run in enumerate(runs) if run.status == "fits"}
        self.watcher.on_plan([*names.values()], self.side_by_side)
        questions = {number: self._question(entries[number], tuned, f"real-{number}") for number in names}
        truths: dict[int, Costs] = {}

        def on_end(number: int, exit_code: int | None, seconds: float) -> None:
            record = _record(Path(questions[number].task.out))
            if record and record.costs:
                truths[number] = record.costs
            problem = record.error if record and record.error else died(exit_code).problem
            self.watcher.on_end(names[number], truths.get(number) or Refused(problem), seconds)

        self._run([*questions.items()], run_for_real, lambda number, said: None, on_end)
        return tuple(replace(run, truth=truths.get(number)) for number, run in enumerate(runs))


def _record(folder: Path) -> RunRecord | None:
    return read_record(folder) if (folder / RECORD).is_file() else None


def _estimated(entry: Entry, found: Answer) -> RunEstimate:
    of = {"name": entry.name, "method": entry.method, "model": entry.model}
    if isinstance(found, RunCost):
        return RunEstimate(**of, status="fits", cost=found)
    return RunEstimate(**of, status="failed" if found.fits else "does not fit", problem=found.problem)
