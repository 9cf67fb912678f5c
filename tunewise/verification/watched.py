"""What runs in the process that is killed: a run as any other, but watched."""

from __future__ import annotations

import os
from dataclasses import dataclass
from multiprocessing.connection import Connection
from pathlib import Path
from typing import Any

from tunewise.check import check
from tunewise.comparison.worker import Task, stop_with_parent
from tunewise.errors import TunewiseError
from tunewise.recipe import recipe_from


@dataclass(frozen=True)
class WatchedRun:
    """A run to carry out, or to go on with, in `task.out`; with a cache of its own, so that a kill can hit its filling
    and no other run helps it out."""

    task: Task
    cache: str


def carry_out(watched: WatchedRun, pipe: Connection) -> None:
    """Carries out or resumes a run, and sends moments, and the error it meets."""
    from tunewise.engine.device import Tuned
    from tunewise.run import run
    from tunewise.verification.training import Teller, WatchedTraining

    stop, task = stop_with_parent(), watched.task
    os.environ["TUNEWISE_CACHE"] = watched.cache

    def loop(**fields: Any) -> WatchedTraining:
        training = WatchedTraining(**fields)
        training.pipe = pipe
        return training

    recipe, folder = recipe_from(task.recipe), Path(task.folder)
    try:
        run(
            recipe,
            Path(task.out),
            folder=folder,
            observers=[Teller(pipe)],
            resume=True,
            allow_code=task.allow_code,
            checked=check(recipe, folder, recipe.all_methods, task.allow_code, task.found),
            tuned=Tuned.from_dict(task.tuned),
            stop=stop,
            loop=loop,
        )
    except TunewiseError as problem:
        pipe.send(problem)
        raise SystemExit(problem.exit_code) from None
