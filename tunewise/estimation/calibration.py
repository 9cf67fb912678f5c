"""A training of which only some steps are carried out: enough to know what all of them cost."""

from __future__ import annotations

import time
from collections.abc import Iterator
from dataclasses import dataclass, field, replace
from functools import cached_property

import numpy as np

from tunewise.data.inputs import Inputs, items_of
from tunewise.engine.kept import Spent
from tunewise.engine.loop import Training
from tunewise.engine.prefix import FrozenPrefix
from tunewise.engine.progress import Progress
from tunewise.estimation.cached import open_some
from tunewise.estimation.trend import Trend, trend_of
from tunewise.models.cost import StepFlops

LEAST_STEPS = 5
MOST_STEPS = 60
GOLDEN = 0.6180339887498949


@dataclass(frozen=True)
class Shapes:
    """The batches of a training, in their order: the optimiser step (from 0), rows, tokens per row, and tokens to learn
    of each."""

    step: np.ndarray
    rows: np.ndarray
    width: np.ndarray
    items: np.ndarray

    def flops(self, flops: StepFlops, first: int, end: int) -> tuple[np.ndarray, np.ndarray]:
        """FLOPs forward and backward of each step from `first` to before `end`, (n,)."""
        part = slice(*np.searchsorted(self.step, (first, end)))
        step, rows, width, items = self.step[part] - first, self.rows[part], self.width[part], self.items[part]
        forward, backward = (
            np.bincount(step, weights=cost(rows, width, items) * np.ones(len(step)), minlength=end - first)
            for cost in (flops.forward, flops.backward)
        )
        return forward, backward


@dataclass(frozen=True)
class Phase:
    """What was measured between one plan and the next: `first` to before `end` are its steps, `measured` how many of
    them were carried out. `own`: whether its time is told by its own steps alone, and not by those of earlier phases.
    """

    first: int
    end: int
    measured: int
    own: bool


@dataclass
class Calibration(Training):
    """Runs real steps of the training, on the rows and at the rates that they have in it, and ends with the progress
    that the whole would have: seconds and FLOPs of every step.

    In each phase of the method the step with most padded tokens comes first, so that what does not fit into memory
    fails at once; others are spread evenly from the cheapest to the dearest. Seconds of a step are a line over its
    FLOPs, which count padded tokens, and in attention their squares. FLOPs of all steps are counted, not extrapolated.

    Args:
        budget: seconds of steps to carry out; each phase has its share. Where it is used up, a phase has one step, and
            its time is told by those before it.

    Attributes:
        ready_at: when the first step could begin, on `time.perf_counter`.
        counted_at_start: seconds before that which count as training: measurements, filling the cache.
        kept_bytes: of what the cache would hold for rows that were not read here, at most in any phase.
        notes: what was not measured.
        validation_seconds: of one validation.
    """

    budget: float = 5.0
    ready_at: float = field(default=0.0, init=False)
    counted_at_start: float = field(default=0.0, init=False)
    kept_bytes: int = field(default=0, init=False)
    notes: list[str] = field(default_factory=list, init=False)
    validation_seconds: float = field(default=0.0, init=False)
    phases: list[Phase] = field(default_factory=list, init=False)
    _points: list[tuple[float, float]] = field(default_factory=list, init=False)
    _outside: list[float] = field(default_factory=list, init=False)
    _not_spent: float = field(default=0.0, init=False)  # seconds of filling the cache that were only calculated

    def __post_init__(self) -> None:
        super().__post_init__()
        self.feed.open = self._open
        if self.feed.augmented is not None:
            self._not_spent += self.feed.augmented.not_spent
            if self.net.tokenizer is not None:
                self.notes.append(
                    "FLOPs are those of the texts as they are: with other words they are a little different"
                )

    def _check_disk(self) -> None:
        """It saves no checkpoint, and tells what they would take."""

    def _go_on(self) -> None:
        course, progress = self.course, self.progress
        self.ready_at, self.counted_at_start = time.perf_counter(), progress.seconds - self._not_spent
        first = 0
        while first < course.total_steps:
            progress.step = first
            if first:
                self._replan()
            end = self._end_of_phase
            self._phase(first, end)
            if not first:
                self._time_validation()
            first = end
        progress.step = course.total_steps
        self.feed.open = FrozenPrefix.open  # in a cycle, the moments would be there during evaluation too

    @property
    def validations(self) -> int:
        """How many there are in the whole training, if it does not stop early."""
        return sum(self.course.validates(step) for step in range(1, self.course.total_steps + 1))

    @property
    def seconds_between_steps(self) -> float:
        """Seconds of the whole training that no step counts: its log."""
        return float(np.median(self._outside)) * self.course.total_steps

    @property
    def steps_of_borrowed_time(self) -> int:
        """How many steps have the time that those of earlier phases tell."""
        return sum(phase.end - phase.first for phase in self.phases if not phase.own)

    @property
    def checkpoint_bytes(self) -> int:
        """The size of a checkpoint: trained tensors, the best of them, and the optimiser's."""
        kept = self._trained().values()
        copies = 2 if self.best is not None else 1
        state = [value for moments in self.optimizer.adamw.state.values() for value in moments.values()]
        return sum(t.nbytes for t in kept) * copies + sum(t.nbytes for t in state)

    @cached_property
    def _shapes(self) -> Shapes:
        return shapes_of(self)

    @property
    def _end_of_phase(self) -> int:
        return min(self.plan.until or self.course.total_steps, self.course.total_steps)

    def _steps_to_take(self, first: int, end: int) -> list[int]:
        """Those that may be carried out: the one with most padded tokens, then others from cheap to dear, and it again
        before every third of them. Only the second time are the optimiser's moments there, and later what was freed is
        in pieces that it does not fit into: LoRA on MiniLM took 793, 828, 915 and at last 1,058 MB."""
        tokens, _ = self._shapes.flops(StepFlops(token_forward=1.0), first, end)
        heaviest, steps = first + int(tokens.argmax()), []
        for place, step in enumerate(spread(tokens, first)):
            steps += [step] if place % 3 else [heaviest, step]
        return [heaviest, *steps]

    def _open(self, prefix: FrozenPrefix, inputs: Inputs) -> tuple[Inputs, Spent]:
        """Keeps the states of the rows that will be read, and counts what it takes to keep those of all."""
        if inputs is not self.inputs:
            return prefix.open(inputs)
        steps = self._steps_to_take(self.progress.planned_at, self._end_of_phase)
        opened = open_some(prefix, inputs, np.unique(np.concatenate([self.course.rows(step) for step in steps])))
        self._not_spent += opened.of_all.seconds - opened.spent.seconds
        self.kept_bytes = max(self.kept_bytes, opened.bytes)
        if opened.room < 1:
            self.notes.append(f"the cache has room for {opened.room:.0%} of the rows: the others' time is not counted")
        return opened.inputs, opened.of_all

    def _phase(self, first: int, end: int) -> None:
        """Carries out some of its steps, and sets the progress to what it is after all of them."""
        before, begun = replace(self.progress), time.perf_counter()
        share = self.budget * (end - first) / (self.course.total_steps - first)
        steps = self._steps_to_take(first, end)
        slowest = self._timed(steps[0])  # shows what a batch costs in FLOPs, and sets up what is made once
        forward, backward = self._flops_of_steps(first, end)
        work, points = forward + backward, []
        for step in steps[1:]:
            if len(points) >= self._enough(end - first) and time.perf_counter() - begun >= share:
                break
            points.append((work[step - first], self._timed(step)))
        self._points += points
        trend = self._trend(points or [(work[steps[0] - first], slowest)])
        once = max(0.0, slowest - float(trend.at(work[[steps[0] - first]])[0]))
        self._count(before, float(trend.at(work).sum()) + once, float(forward.sum()), float(backward.sum()))
        own = len(self._points) == len(points) or len(points) >= LEAST_STEPS
        self.phases.append(Phase(first, end, len(points) + 1, own))
        self.budget -= time.perf_counter() - begun

    def _flops_of_steps(self, first: int, end: int) -> tuple[np.ndarray, np.ndarray]:
        """FLOPs forward and backward, as the model reads the rows in this phase."""
        shapes = self._shapes
        if self.feed["train"].shape(np.arange(len(self.inputs)))[1] == 1:  # one position is kept of each row
            shapes = replace(shapes, width=np.ones_like(shapes.width))
        forward, backward = shapes.flops(self.gradients.flops, first, end)
        return forward, self.objective.with_gradient * backward

    def _count(self, before: Progress, seconds: float, forward: float, backward: float) -> None:
        """Sets the progress to what it was and this."""
        progress = self.progress
        progress.seconds, progress.spared_flops = before.seconds + seconds, before.spared_flops + self._spared(forward)
        progress.forward_flops = before.forward_flops + forward
        progress.backward_flops = before.backward_flops + backward

    def _spared(self, forward: float) -> float:
        """What the cache spares the forward passes of this phase."""
        first, end, course = self.progress.planned_at, self._end_of_phase, self.course
        if self.feed.whole_flops("train", course.rows(first)) is None:
            return 0.0
        batches = (rows for step in range(first, end) for rows in course.micro_batches(step))
        return self.gradients.passes * sum(self.feed.whole_flops("train", rows) for rows in batches) - forward

    def _enough(self, steps: int) -> int:
        """How many steps a phase must have beside its first, whatever the budget."""
        return 0 if len(self._points) >= LEAST_STEPS else min(LEAST_STEPS, steps - 1)

    def _trend(self, points: list[tuple[float, float]]) -> Trend:
        """Of the phase's own points where these are enough, else of all so far."""
        if len(points) < LEAST_STEPS and len(self._points) > len(points):
            points = self._points
        return trend_of(*zip(*points, strict=True))

    def _timed(self, step: int) -> float:
        """Carries out a step; what it counts for itself in seconds."""
        self.course.rows(step)  # of another epoch: made before the clock runs, as it is once an epoch in the training
        progress, begun = self.progress, time.perf_counter()
        counted, progress.step = progress.seconds, step
        self._step()
        took = progress.seconds - counted
        self._outside.append(time.perf_counter() - begun - took)
        return took

    def _time_validation(self) -> None:
        begun = time.perf_counter()
        self._validate()
        self.validation_seconds = time.perf_counter() - begun


def shapes_of(training: Training) -> Shapes:
    """The shape of every batch to come."""
    inputs, course, passes = training.inputs, training.course, training.gradients.passes
    found = []
    for step in range(course.total_steps):
        for rows in course.micro_batches(step):
            read, width = inputs.shape(rows)
            found.append((step, passes * read, width, items_of(inputs, rows)))
    return Shapes(*np.array(found, dtype=np.int64).T)


def spread(work: np.ndarray, first: int) -> Iterator[int]:
    """Steps whose work is spread evenly from least to most, however early one stops: at most MOST_STEPS, each once."""
    order = np.argsort(work, kind="stable")
    places = dict.fromkeys(int(len(order) * ((0.5 + number * GOLDEN) % 1)) for number in range(MOST_STEPS))
    for place in places:
        yield first + int(order[place])
