"""The gradients of an optimiser step: batch by batch, in smaller batches where these do not fit into memory.

Shape legend: B rows of a batch, C outputs.
"""

from __future__ import annotations

from collections.abc import Callable, Mapping, Sequence
from contextlib import AbstractContextManager
from dataclasses import dataclass, field
from functools import partial
from typing import Any, TypeVar

import numpy as np
import torch

from tunewise.data.inputs import items_of
from tunewise.engine.checkpoint import random_state, set_random_state
from tunewise.engine.course import Course
from tunewise.engine.device import Tuned
from tunewise.engine.drawn_rows import StepRows
from tunewise.engine.dropout import Masks
from tunewise.engine.events import Observers, Warned
from tunewise.engine.feed import Feed
from tunewise.engine.stack import ALONE, Alone, Ask
from tunewise.engine.step_loss import loss_of_both, mixed_loss, mixup_generator, r_drop_loss, repeated
from tunewise.errors import OutOfMemoryError
from tunewise.evaluate.predict import Outputs
from tunewise.models.batch_norm import copied_statistics, put_back
from tunewise.models.cost import StepFlops, watch_flops
from tunewise.models.load import Net
from tunewise.models.memory import WHAT_WOULD_FIT, attempt, free_memory
from tunewise.objectives.base import Loss, Objective

T = TypeVar("T")


@dataclass
class Sums:
    """Of the batches of a step: `loss` over all rows, whose mean is over `n_items`; FLOPs, those that the stored
    states spared, and (part of the forward ones) those of writing and looking at what it learns from; its `rows` and
    their `tokens`, each once; how many rows were `changed` by augmentation, and of these `cut`. `told`: figures of the
    loss, each a sum and what it is divided by; `figures` and `samples` are of what was read."""

    n_items: float
    loss: float = 0.0
    forward_flops: float = 0.0
    backward_flops: float = 0.0
    spared_flops: float = 0.0
    writing_flops: float = 0.0
    rows: int = 0
    tokens: int = 0
    changed: int = 0
    cut: int = 0
    told: dict[str, tuple[float, float]] = field(default_factory=dict)
    figures: Mapping[str, float] = field(default_factory=dict)
    samples: Sequence[Mapping[str, Any]] = ()

    @property
    def mean_loss(self) -> float:
        return self.loss / self.n_items

    @property
    def all_figures(self) -> dict[str, float]:
        """Those of what was read, and the means of those of the loss."""
        return {**self.figures, **{name: total / max(count, 1e-30) for name, (total, count) in self.told.items()}}

    def add_told(self, told: Mapping[str, tuple[float, float]]) -> None:
        for name, (total, count) in told.items():
            before = self.told.get(name, (0.0, 0.0))
            self.told[name] = (before[0] + total, before[1] + count)


@dataclass
class Gradients:
    """Adds up the gradients of the mean loss over the rows of a step.

    Args:
        targets: of the rows of `train`, in their order, on the device.
        observers: are told of each halving of the batches.
        stack: passes over the model, alone or with other runs.

    Attributes:
        flops: what a batch costs; known after the first since it was set to None.
        statistics: what batch norms knew before the last step.
    """

    net: Net
    objective: Objective
    feed: Feed
    targets: torch.Tensor
    course: Course
    masks: Masks
    tuned: Tuned
    scaler: torch.amp.GradScaler
    observers: Observers
    stack: Alone = ALONE
    flops: StepFlops | None = field(default=None, init=False)
    statistics: dict[torch.Tensor, torch.Tensor] = field(default_factory=dict, init=False)
    _tried: np.ndarray | None = field(default=None, init=False)  # the rows of the last batch

    @property
    def passes(self) -> int:
        """How often the model reads a row in a step: twice for R-Drop."""
        return 2 if self.objective.config.r_drop else 1

    def of_step(self, step: int) -> Sums:
        """Leaves the gradients of optimiser step `step` in the parameters.

        Where memory runs out, everything is as before the step, and it is done again with batches half as large: the
        same rows and the same mean.

        Raises:
            OutOfMemoryError: a single row does not fit.
        """
        return self.fitting(step, lambda: self._add_up(step))

    def fitting(self, step: int, work: Callable[[], T]) -> T:
        """Does a work on batches of the course, again with smaller ones as long as memory runs out."""
        while True:
            self._tried, flops, random = None, self.flops, random_state()
            self.statistics = copied_statistics(self.net.model) if self.net.updates_batch_norm else {}
            result, problem = attempt(work)
            if problem is None:
                return result
            self.flops = flops
            self.clear()
            free_memory()
            set_random_state(random)
            put_back(self.statistics)
            self._halve(step, problem)

    def clear(self) -> None:
        """The parameters have no gradients any more."""
        for parameter in self.net.model.parameters():
            parameter.grad = None

    def loss(
        self,
        reading: StepRows,
        rows: np.ndarray,
        autocast: Callable[[], AbstractContextManager[Any]],
    ) -> Loss:
        """Of a batch of these rows as they are, in one pass and unmixed."""
        self._tried = rows
        return self.objective.loss(self._outputs(reading.batch(rows), autocast), reading.targets_of(rows))

    def _outputs(
        self, batch: Mapping[str, torch.Tensor], autocast: Callable[[], AbstractContextManager[Any]]
    ) -> torch.Tensor:
        batch = {key: value.to(self.targets.device) for key, value in batch.items()}
        with autocast(), self.masks.drawing():
            return self.objective.outputs(self.net.model, batch)

    def _add_up(self, step: int) -> Sums:
        rows = self.course.rows(step)
        reading = self.reading(step, rows)
        lengths_B = reading.lengths_of(rows) if self.feed.augmented else self.feed.inputs["train"].lengths[rows]
        sums = Sums(
            self._n_items(reading, rows),
            rows=len(rows),
            tokens=int(lengths_B.sum()),
            changed=reading.changed,
            cut=reading.cut,
            figures=reading.figures,
            samples=reading.samples,
        )
        self.masks.begin(step)
        with self.objective.in_step(lambda wanted: self._of_all_rows(step, reading, wanted)):
            for batch in self.course.micro_batches(step):
                self._add(step, batch, reading, sums)
        return sums

    def _n_items(self, reading: StepRows, rows: np.ndarray) -> float:
        """What the sum of losses of a step is divided by."""
        count, others = self.objective.n_items(reading.targets_of(rows)), reading.others_of(rows)
        if others is None:
            return count
        return reading.share * count + (1 - reading.share) * self.objective.n_items(others)

    def _of_all_rows(self, step: int, reading: StepRows, wanted: Outputs) -> torch.Tensor:
        """Something (n, ...) of all rows of a step, without gradient."""
        found = []
        for rows in self.course.micro_batches(step):
            self._tried = rows
            batch = {key: value.to(self.targets.device) for key, value in reading.batch(rows).items()}
            with torch.no_grad(), self.tuned.autocast(), self.masks.drawing():
                found.append(wanted(self.net.model, batch))
        return torch.cat(found)

    def reading(self, step: int, rows: np.ndarray) -> StepRows:
        """What optimiser step `step` reads of some of its rows."""
        if self.feed.augmented:
            return self.feed.augmented.read(rows, self.course.epoch_at(step), self.targets, step)
        return StepRows(self.feed["train"], self.targets)

    def _add(self, step: int, rows: np.ndarray, reading: StepRows, sums: Sums) -> None:
        """A batch's share of the mean over the step's rows."""
        self._tried = rows
        loss = self._counted_loss(step, rows, reading)
        self.stack.backward(self.scaler.scale(loss.total / sums.n_items))
        windows, width = reading.shape(rows)
        read = self.passes * windows
        items = reading.items(rows) if self.feed.augmented else items_of(self.feed.inputs["train"], rows)
        forward = self.flops.forward(read, width, items) + self.feed.missing_flops("train", rows)
        whole = self.feed.whole_flops("train", rows)
        sums.forward_flops += forward * (1 + reading.passes)
        sums.writing_flops += forward * reading.passes
        sums.add_told(loss.told)
        sums.backward_flops += self.objective.with_gradient * self.flops.backward(read, width, items)
        sums.spared_flops += 0.0 if whole is None else self.passes * whole - forward
        sums.loss += float(loss.total.detach())

    def _counted_loss(self, step: int, rows: np.ndarray, reading: StepRows) -> Loss:
        """The loss; the first after a plan shows what a batch costs."""
        if self.flops is not None:
            return self._step_loss(step, rows, reading)
        with watch_flops(self.net.model, self.net.map) as flops:
            loss = self._step_loss(step, rows, reading)
        self.flops = flops
        return loss

    def _step_loss(self, step: int, rows: np.ndarray, reading: StepRows) -> Loss:
        """As the step minimises it: of one pass, mixed, or of two."""
        batch, targets, r_drop = reading.batch(rows), reading.targets_of(rows), self.objective.config.r_drop
        if r_drop:
            return r_drop_loss(self.objective, self._outputs_of_step(step, repeated(batch, 2)), targets, r_drop)
        logits_BC = self._outputs_of_step(step, batch)
        if (others := reading.others_of(rows)) is not None:
            return loss_of_both(self.objective, logits_BC, targets, others, reading.share)
        if self.feed.mixup:
            generator = mixup_generator(self.course.seed, step, rows)
            return mixed_loss(self.objective, logits_BC, targets, self.feed.mixup, generator)
        return self.objective.loss(logits_BC, targets)

    def _outputs_of_step(self, step: int, batch: Mapping[str, torch.Tensor]) -> torch.Tensor:
        """Of one pass with other runs, where they read the same; the batch that shows what one costs is read alone."""
        if self.flops is None or self.feed.is_stored("train"):
            return self._outputs(batch, self.tuned.autocast)
        batch = {key: value.to(self.targets.device) for key, value in batch.items()}
        alone = partial(self._outputs, batch, self.tuned.autocast)
        return self.stack.outputs(Ask(step, batch, self.net, self.objective, self.masks, self.tuned, alone))

    def _halve(self, step: int, problem: str) -> None:
        rows = self._tried
        if rows is None:
            what = f"memory ran out at step {step + 1}, before its first batch"
            raise OutOfMemoryError(what, where=problem, fix=WHAT_WOULD_FIT)
        width = int(self.feed.inputs["train"].lengths[rows].max())
        if len(rows) == 1:
            windows, tokens = self.feed.inputs["train"].shape(rows)
            in_windows = f" in {windows} windows" if windows > 1 else ""
            lower = f"train.max_chunks below {windows}" if windows > 1 else f"train.max_length below {tokens}"
            raise OutOfMemoryError(
                f"memory ran out at step {step + 1} with a single row of {width:,} tokens{in_windows} in a batch",
                where=problem,
                fix=f"set {lower}, or {WHAT_WOULD_FIT}",
            )
        fewer = self.course.halve(rows)
        told = (
            f"memory ran out at step {step + 1} with {len(rows)} rows of up to {width} tokens in a batch: the step is "
            f"done again, and training goes on, with {fewer} in a batch; a step has the same rows as before"
        )
        self.observers.emit(Warned(told, step + 1))
