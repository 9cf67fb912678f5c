"""The course of a training: which rows each optimiser step sees, when to validate, when to save."""

from __future__ import annotations

import math
from bisect import bisect_right
from dataclasses import dataclass, field, replace
from functools import cached_property

import numpy as np

from tunewise.data.balanced_batches import balanced_rows, balanced_steps
from tunewise.data.batches import BatchSize, epoch_steps, padded_tokens
from tunewise.engine.settings import TrainConfig

DEFAULT_EPOCHS = 3.0
FAR_MORE = 2.0
SECONDS_BETWEEN_SAVES = 60.0


@dataclass
class Course:
    """Everything follows from the lengths of the rows, the settings and the seed, so that any step can be the first
    after a resume.

    Args:
        classes: of the rows, integers (n,); needed for balanced batches.
        passes: so many steps in a row have the same rows: a round.

    Attributes:
        steps_per_epoch: of the first epoch; where batches go by tokens, others may have a few more or less.
        total_steps: of the whole training, unless it stops early.
        halvings: how often batches were cut in half because memory ran out. Steps keep their rows.
    """

    lengths: np.ndarray
    config: TrainConfig
    seed: int
    classes: np.ndarray | None = None
    passes: int = 1
    steps_per_epoch: int = field(init=False)
    total_steps: int = field(init=False)
    halvings: int = field(default=0, init=False)
    _starts: list[int] = field(default_factory=lambda: [0], init=False, repr=False)  # first round of each epoch
    _size: BatchSize = field(init=False, repr=False)
    _epoch: tuple[int, list[np.ndarray]] | None = field(default=None, init=False, repr=False)

    def __post_init__(self) -> None:
        self._size = BatchSize(self.config.batch_size, self.config.batch_tokens, self.config.accumulate)
        self.steps_per_epoch = self.passes * self._steps_in(0)
        epochs = self.config.epochs if self.config.epochs is not None else DEFAULT_EPOCHS
        self.total_steps = self.config.max_steps or self.passes * self._steps_of(epochs)

    @property
    def rows_per_epoch(self) -> int:
        """Rows that an epoch reads: each once; where batches are balanced, those of small classes several times."""
        return balanced_rows(self.classes) if self.config.balanced_batches else len(self.lengths)

    @property
    def rows_per_step(self) -> int:
        """Rows of a step; where batches go by tokens, their mean over the first epoch."""
        if self.config.batch_tokens is not None:
            return math.ceil(len(self.lengths) / self._steps_in(0))
        return self.config.batch_size * self.config.accumulate

    def rows(self, step: int) -> np.ndarray:
        """The rows of optimiser step `step`, which starts at 0."""
        epoch, place = self._place(step)
        return self._steps(epoch)[place]

    def micro_batches(self, step: int) -> list[np.ndarray]:
        """The rows of each of its batches: at most `accumulate`, twice as many for each halving, and more where one has
        far more tokens than the others."""
        return self._in_parts(self._fitting.batches(self.rows(step), self.lengths))

    def batches_of(self, rows: np.ndarray) -> list[np.ndarray]:
        """Any rows, in batches of similar length such as the training has."""
        return self._in_parts(self._fitting.batches(self._size.by_length(rows, self.lengths), self.lengths))

    def halve(self, rows: np.ndarray) -> int:
        """From here on batches are half as large, and a batch of these rows (two at least) is cut up; returns how many
        of them are in the first part."""
        most = len(rows)
        while most == len(rows):
            self.halvings += 1
            most = len(self.batches_of(rows)[0])
        return most

    def epoch_of(self, step: int) -> float:
        """Epochs done after `step` steps."""
        if step == 0:
            return 0.0
        epoch, place = self._place(step - 1)
        done = place + ((step - 1) % self.passes + 1) / self.passes
        return epoch + done / self._steps_in(epoch)

    def epoch_at(self, step: int) -> int:
        """The epoch of optimiser step `step`; both start at 0."""
        return self._place(step)[0]

    def validates(self, step: int) -> bool:
        """Whether to validate after `step` steps."""
        every = self.config.evaluate_every
        return step == self.total_steps or (step % every == 0 if every else self._ends_epoch(step))

    def saves(self, step: int, seconds_unsaved: float) -> bool:
        """Whether to save a checkpoint after `step` steps, the last checkpoint being so many seconds old."""
        if self.config.save_steps:
            return step % self.config.save_steps == 0
        whole = self._ends_epoch(step) or step == self.total_steps
        return whole and seconds_unsaved >= SECONDS_BETWEEN_SAVES

    @property
    def _fitting(self) -> BatchSize:
        """The size of batches that fit into memory."""
        parts, tokens = 2**self.halvings, self._size.tokens
        return replace(
            self._size,
            rows=math.ceil(self._size.rows / parts),
            tokens=None if tokens is None else max(1, tokens // parts),
        )

    def _in_parts(self, batches: list[np.ndarray]) -> list[np.ndarray]:
        """Batches of far more tokens than the usual ones, which would decide how much memory a training takes, in parts
        of as many rows each. The step is the same: the mean over all its rows."""
        parts = []
        for rows in batches:
            fitting = max(1, int(self._most_tokens // self.lengths[rows].max()))
            parts += np.array_split(rows, math.ceil(len(rows) / fitting))
        return parts

    @cached_property
    def _most_tokens(self) -> float:
        """Padded tokens that a batch has at most: so many times those of the usual one, the mean in the first epoch."""
        batches = (rows for step in self._steps(0) for rows in self._size.batches(step, self.lengths))
        return FAR_MORE * float(np.mean([padded_tokens(rows, self.lengths) for rows in batches]))

    def _steps_of(self, epochs: float) -> int:
        whole = int(epochs)
        part = (epochs - whole) * self._steps_in(whole) if epochs > whole else 0
        return max(1, round(self._start(whole) + part))

    def _ends_epoch(self, step: int) -> bool:
        """Whether step `step`, counted from 1, is the last of its epoch."""
        epoch, place = self._place(step - 1)
        return step % self.passes == 0 and place + 1 == self._steps_in(epoch)

    def _place(self, step: int) -> tuple[int, int]:
        """The epoch of a step, and how many of the epoch's rounds come before."""
        step //= self.passes
        while self._starts[-1] <= step:
            self._start(len(self._starts))
        epoch = bisect_right(self._starts, step) - 1
        return epoch, step - self._starts[epoch]

    def _steps_in(self, epoch: int) -> int:
        return self._start(epoch + 1) - self._start(epoch)

    def _start(self, epoch: int) -> int:
        """The first round of an epoch."""
        while len(self._starts) <= epoch:
            self._starts.append(self._starts[-1] + self._count(len(self._starts) - 1))
        return self._starts[epoch]

    def _count(self, epoch: int) -> int:
        if self.config.batch_tokens is None:
            return math.ceil(self.rows_per_epoch / self.rows_per_step)
        return len(self._steps(epoch))

    def _steps(self, epoch: int) -> list[np.ndarray]:
        """The rows of each round of an epoch; the last epoch that was asked for is kept."""
        if self._epoch is None or self._epoch[0] != epoch:
            how = {"seed": self.seed, "epoch": epoch, "group_by_length": self.config.group_by_length}
            if self.config.balanced_batches:
                steps = balanced_steps(self.lengths, self.classes, self._size, **how)
            else:
                steps = epoch_steps(self.lengths, self._size, **how)
            self._epoch = (epoch, steps)
        return self._epoch[1]
