"""What runs in a process of its own: a run of a comparison, or several in one pass over the base, watched by the parent
through a pipe."""

from __future__ import annotations

import multiprocessing
import os
import signal
import threading
import time
from collections.abc import Callable, Sequence
from contextlib import suppress
from dataclasses import dataclass
from multiprocessing.connection import Connection, wait
from pathlib import Path
from typing import TYPE_CHECKING, Any

from tunewise.check import Found, check
from tunewise.commit import owner
from tunewise.engine.events import Evaluated, Observer, Started, Step
from tunewise.engine.stop import Stop, Told
from tunewise.errors import Interrupted, TunewiseError
from tunewise.recipe import recipe_from

if TYPE_CHECKING:
    from tunewise.engine.stack import Alone, Member

SECONDS_BETWEEN_MESSAGES = 0.2
SECONDS_FOR_ORPHANS = 30.0


@dataclass(frozen=True)
class Task:
    """One process's work. `recipe` is a single run's recipe as plain data, `found` the data and model that it names;
    `baseline` names one instead of a method; `soup` is its kind, its label, the folders of its members and what is to
    be warned of."""

    recipe: dict[str, Any]
    out: str
    folder: str
    tuned: dict[str, Any]
    found: Found
    allow_code: bool
    packages: tuple[str, ...]
    baseline: str | None = None
    soup: tuple[str, str, list[str], tuple[str, ...]] | None = None


class Reporter(Observer):
    """Sends how far the run is: (its place among the runs of the process, step, total steps, loss, scores), a few times
    per second."""

    def __init__(self, pipe: Connection, place: int):
        self.pipe, self.place, self.total, self.sent, self.scores = pipe, place, 0, 0.0, {}

    def on_started(self, event: Started) -> None:
        self.total = event.total_steps
        self._send(event.step, None)

    def on_step(self, event: Step) -> None:
        if time.monotonic() - self.sent >= SECONDS_BETWEEN_MESSAGES:
            self._send(event.step, event.loss)

    def on_evaluated(self, event: Evaluated) -> None:
        self.scores = dict(event.scores)
        self._send(event.step, event.loss)

    def _send(self, step: int, loss: float | None) -> None:
        self.sent = time.monotonic()
        with suppress(OSError):  # the parent is gone, and `stop_with_parent` sees to it
            self.pipe.send((self.place, step, self.total, loss, self.scores))


def stop_with_parent() -> Stop:
    """Leaves Ctrl-C to the parent process, and follows it where it dies: the run is saved and stops, as at SIGTERM;
    where it was told to stop before, the user wants it to end at once. Returns what a run here is to be stopped by."""
    signal.signal(signal.SIGINT, signal.SIG_IGN)
    stop, parent = Stop(patient=True), multiprocessing.parent_process()

    def follow() -> None:
        wait([parent.sentinel])
        if stop.requested:
            os._exit(Interrupted.exit_code)
        os.kill(os.getpid(), signal.SIGTERM)

    if parent is not None:
        threading.Thread(target=follow, daemon=True).start()
    return stop


def work(tasks: Sequence[Task], pipe: Connection) -> None:
    """Carries out a task, or several in one pass over the base; what happened is in their records, and whether all
    finished in the exit code."""
    stop = stop_with_parent()
    for task in tasks:
        await_owner(Path(task.out))
    if len(tasks) > 1:
        _guarded(lambda: _run_stacked(tasks, pipe, stop))
    else:
        (task,) = tasks
        _guarded(lambda: _run_baseline(task) if task.baseline else (_run_soup if task.soup else _run)(task, pipe, stop))


def await_owner(folder: Path) -> None:
    """Waits for a run of a comparison that was killed: its processes are about to save and stop."""
    deadline = time.monotonic() + SECONDS_FOR_ORPHANS
    while owner(folder) is not None and time.monotonic() < deadline:
        time.sleep(0.1)


def probe(task: Task, pipe: Connection) -> None:
    """Sends what a measurement in a process of its own finds best for this machine, or the error it met."""
    stop_with_parent()
    from tunewise.engine.device import tune_for

    recipe = recipe_from(task.recipe)
    try:
        ((_, located),) = task.found.models.items()
        pipe.send(tune_for(recipe.train, located, task.found.data, **task.tuned).as_dict())
    except TunewiseError as problem:
        pipe.send(problem)


def _guarded(carry_out: Callable[[], object]) -> None:
    try:
        carry_out()
    except TunewiseError as problem:
        raise SystemExit(problem.exit_code) from None


def _run_stacked(tasks: Sequence[Task], pipe: Connection, stop: Stop) -> None:
    from tunewise.engine.stack import Stack

    def carried_out(place: int) -> Callable[[Member], None]:
        return lambda member: _run(tasks[place], pipe, Told(stop), place, member)

    with stop:
        problems = Stack(len(tasks)).run([carried_out(place) for place in range(len(tasks))])
    if problems:  # what nobody foresaw before what a record tells
        raise min(problems, key=lambda problem: isinstance(problem, TunewiseError))


def _run(task: Task, pipe: Connection, stop: Stop, place: int = 0, stack: Alone | None = None) -> None:
    from tunewise.comparison import preload
    from tunewise.engine.device import Tuned
    from tunewise.engine.stack import ALONE
    from tunewise.run import run

    # A run pays for the packages it needs, as it would alone; those of other methods are not its cost.
    imports = sum(seconds for name, seconds in preload.SECONDS.items() if name in task.packages)
    recipe = recipe_from(task.recipe)
    run(
        recipe,
        Path(task.out),
        folder=Path(task.folder),
        observers=[Reporter(pipe, place)],
        resume=True,
        allow_code=task.allow_code,
        checked=check(recipe, Path(task.folder), recipe.all_methods, task.allow_code, task.found),
        tuned=Tuned.from_dict(task.tuned),
        shared_seconds=imports + task.found.seconds,
        stop=stop,
        stack=stack or ALONE,
    )


def _run_baseline(task: Task) -> None:
    from tunewise.comparison.baseline_run import run_baseline_run

    recipe = recipe_from(task.recipe)
    checked = check(recipe, Path(task.folder), [], task.allow_code, task.found)
    run_baseline_run(task.baseline, recipe, Path(task.out), checked)


def _run_soup(task: Task, pipe: Connection, stop: Stop) -> None:
    from tunewise.comparison.soup import make_soup

    kind, label, members, warnings = task.soup
    recipe, folder = recipe_from(task.recipe), Path(task.folder)
    make_soup(
        [Path(member) for member in members],
        Path(task.out),
        kind,
        checked=check(recipe, folder, recipe.all_methods, task.allow_code, task.found),
        label=label,
        warnings=warnings,
        replace_earlier=True,
        stop=stop,
    )
