"""One run, proven: uninterrupted, then killed at each of some moments and resumed, and what is not the same."""

from __future__ import annotations

import time
from collections.abc import Mapping
from dataclasses import dataclass, field, replace
from pathlib import Path
from typing import Any

import numpy as np

from tunewise.check import Checked
from tunewise.comparison.imports import packages_of
from tunewise.comparison.schedule import Pool
from tunewise.comparison.worker import Task, probe
from tunewise.engine.stop import Stop
from tunewise.errors import TunewiseError
from tunewise.recipe import MethodChoice, Recipe
from tunewise.verification.evidence import differences, evidence_of, leftovers_in, rows_read_wrongly
from tunewise.verification.kills import Aim, Kill, draw_aims
from tunewise.verification.moments import Read, spans_of
from tunewise.verification.results import Proof, Watcher
from tunewise.verification.session import Session, follow
from tunewise.verification.watched import WatchedRun

RUN = "run"
SAVES = 6
"""Checkpoints of a run whose recipe does not say when to save: by the clock, a short one would have none."""
TRIES = 8
"""Runs, each aimed at half the delay of the one before, until a kill hits that came too late each time."""


@dataclass
class Chain:
    """The sessions of one run, each but the last killed."""

    kills: list[Kill] = field(default_factory=list)
    reads: dict[int, Read] = field(default_factory=dict)
    state: Mapping[str, str] = field(default_factory=dict)
    problem: TunewiseError | None = None

    def add(self, session: Session, aim: Aim | None) -> None:
        if session.begun is not None:
            at = session.begun.step
            self.kills = [kill if kill.resumed_at is not None else kill.resumed(at) for kill in self.kills]
        self.reads |= session.reads
        if session.state is not None:
            self.state = session.state.digests
        self.problem = session.problem
        if session.killed:
            step = session.last.step if session.begun is not None else None
            self.kills.append(Kill(aim.phase, session.last.phase, step))


@dataclass
class Prover:
    """Carries out the runs of a proof, one process at a time.

    Args:
        place: an empty folder for them.
        generator: draws the moments at which to kill.
    """

    recipe: Recipe
    checked: Checked
    folder: Path
    place: Path
    allow_code: bool
    stop: Stop
    watcher: Watcher
    generator: np.random.Generator
    pool: Pool
    _tuned: dict[str, dict[str, Any]] = field(default_factory=dict, init=False)

    def name(self, model: str, choice: MethodChoice) -> str:
        return f"{choice.label} @ {Path(model).name}" if len(self.recipe.all_models) > 1 else choice.label

    def prove(self, model: str, choice: MethodChoice, kills: int) -> Proof:
        """Compares a run that is killed so often with one that is not.

        Raises:
            TunewiseError: the uninterrupted run failed.
        """
        begun, name = time.perf_counter(), self.name(model, choice)
        recipe = self._that_saves(self.recipe.for_run(model, choice, self.recipe.all_seeds[0]), choice)
        start = time.perf_counter()
        whole_at = self._new_place("uninterrupted")
        whole = self._session(recipe, choice, whole_at)
        self.watcher.on_whole(name, whole.last.step, time.perf_counter() - start)
        aims = draw_aims(spans_of(whole.moments, whole.ended), kills, self.generator)
        done, differs = self._killed(recipe, choice, name, aims, whole, whole_at)
        proof = Proof(
            name=name,
            model=model,
            steps=whole.last.step,
            save_every=recipe.train.save_steps,
            kills=tuple(done),
            differs=tuple(dict.fromkeys(differs)),
            repeatable=self._is_repeatable(recipe, choice, whole, whole_at) if differs else None,
            seconds=time.perf_counter() - begun,
        )
        self.watcher.on_end(name, proof)
        return proof

    def _killed(
        self, recipe: Recipe, choice: MethodChoice, name: str, aims: list[Aim], whole: Session, whole_at: Path
    ) -> tuple[list[Kill], list[str]]:
        """Kills at the moments, in one run or, where it came to its end before a kill hit it, in others; says what
        differs."""
        kills, differs, wanted = [], [], len(aims)
        for _ in range(max(TRIES, 1 + wanted)):
            out, chain, left = self._new_place("killed"), Chain(), list(aims)
            done = False
            while not done:
                aim = left.pop(0) if left else None
                session = follow(self.pool, self._watched(recipe, choice, out), self.stop, aim)
                chain.add(session, aim)
                done = not session.killed
                if session.killed:
                    aims.remove(aim)
                    self.watcher.on_kill(name, chain.kills[-1])
            kills += chain.kills
            differs += self._differences(chain, out, recipe.train.save_steps, whole, whole_at)
            if not aims or differs:
                break
            aims = [replace(aim, seconds=aim.seconds / 2) for aim in aims]  # it was quicker than the uninterrupted one
        return kills, differs

    def _differences(self, chain: Chain, out: Path, save_every: int, whole: Session, whole_at: Path) -> list[str]:
        if chain.problem is not None:
            return [f"resuming failed: {chain.problem.what}"]
        state = differences(whole.state.digests if whole.state else {}, chain.state)
        found = [f"state after the last step: {part}" for part in state]
        found += differences(evidence_of(whole_at / RUN), evidence_of(out / RUN))
        found += [f"left behind: {path}" for path in leftovers_in(out / RUN)]
        found += rows_read_wrongly(chain.reads)
        if any(whole.reads[step].rows != read.rows for step, read in chain.reads.items() if step in whole.reads):
            found.append("the rows of a step")
        worst = max((kill.redone for kill in chain.kills), default=0)
        if worst > save_every:
            found.append(f"lost work: {worst} steps were done again, and a checkpoint is made every {save_every}")
        return found

    def _is_repeatable(self, recipe: Recipe, choice: MethodChoice, whole: Session, whole_at: Path) -> bool:
        """Whether another uninterrupted run is the same: else the machine does not compute the same twice."""
        again_at = self._new_place("again")
        again = self._session(recipe, choice, again_at)
        return again.state == whole.state and not differences(evidence_of(whole_at / RUN), evidence_of(again_at / RUN))

    def _session(self, recipe: Recipe, choice: MethodChoice, out: Path, aim: Aim | None = None) -> Session:
        session = follow(self.pool, self._watched(recipe, choice, out), self.stop, aim)
        if session.problem is not None:
            raise session.problem
        return session

    def _that_saves(self, recipe: Recipe, choice: MethodChoice) -> Recipe:
        """The recipe with checkpoints after a number of steps; a first process is asked how many steps there are."""
        if recipe.train.save_steps:
            return recipe
        begun = self._session(recipe, choice, self._new_place("asked"), Aim("training", None, 0.0)).begun
        every = max(1, (begun.total_steps if begun else 1) // SAVES)
        return recipe.model_copy(update={"train": recipe.train.model_copy(update={"save_steps": every})})

    def _watched(self, recipe: Recipe, choice: MethodChoice, out: Path) -> WatchedRun:
        if recipe.model not in self._tuned:
            question = self._task(recipe, choice, out, {"side_by_side": 1})
            self._tuned[recipe.model] = self.pool.ask(probe, question, self.stop)
        return WatchedRun(self._task(recipe, choice, out / RUN, self._tuned[recipe.model]), str(out / "cache"))

    def _task(self, recipe: Recipe, choice: MethodChoice, out: Path, tuned: dict[str, Any]) -> Task:
        return Task(
            recipe=recipe.as_dict(),
            out=str(out),
            folder=str(self.folder),
            tuned=tuned,
            found=self.checked.found.only(recipe.model),
            allow_code=self.allow_code,
            packages=packages_of(choice.name, self.checked.models[recipe.model]),
        )

    def _new_place(self, what: str) -> Path:
        number = sum(1 for _ in self.place.iterdir())
        (self.place / f"{number:03d}-{what}").mkdir()
        return self.place / f"{number:03d}-{what}"
