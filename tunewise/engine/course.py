"""The course of a training: which rows each optimiser step sees, when to validate, when to save."""

from __future__ import annotations

import math
from dataclasses import dataclass, field

import numpy as np

from tunewise.data.batches import epoch_batches
from tunewise.engine.settings import TrainConfig

DEFAULT_EPOCHS = 3.0
SECONDS_BETWEEN_SAVES = 60.0


@dataclass
class Course:
    """Everything follows from the lengths of the rows, the settings and the seed, so that any step can be the first
    after a resume."""

    lengths: np.ndarray
    config: TrainConfig
    seed: int
    steps_per_epoch: int = field(init=False)
    total_steps: int = field(init=False)
    _epoch: tuple[int, list[np.ndarray]] | None = field(default=None, init=False, repr=False)

    def __post_init__(self) -> None:
        self.steps_per_epoch = math.ceil(len(self.lengths) / self.rows_per_step)
        epochs = self.config.epochs if self.config.epochs is not None else DEFAULT_EPOCHS
        self.total_steps = self.config.max_steps or max(1, round(epochs * self.steps_per_epoch))

    @property
    def rows_per_step(self) -> int:
        return self.config.batch_size * self.config.accumulate

    def rows(self, step: int) -> np.ndarray:
        """The rows of optimiser step `step`, which starts at 0."""
        epoch, place = divmod(step, self.steps_per_epoch)
        if self._epoch is None or self._epoch[0] != epoch:
            batches = epoch_batches(
                self.lengths,
                self.rows_per_step,
                seed=self.seed,
                epoch=epoch,
                group_by_length=self.config.group_by_length,
            )
            self._epoch = (epoch, batches)
        return self._epoch[1][place]

    def micro_batches(self, step: int) -> list[np.ndarray]:
        rows, size = self.rows(step), self.config.batch_size
        return [rows[start : start + size] for start in range(0, len(rows), size)]

    def epoch_of(self, step: int) -> float:
        """Epochs done after `step` steps."""
        return step / self.steps_per_epoch

    def validates(self, step: int) -> bool:
        """Whether to validate after `step` steps."""
        return step == self.total_steps or step % (self.config.evaluate_every or self.steps_per_epoch) == 0

    def saves(self, step: int, seconds_unsaved: float) -> bool:
        """Whether to save a checkpoint after `step` steps, the last checkpoint being so many seconds old."""
        if self.config.save_steps:
            return step % self.config.save_steps == 0
        whole = step % self.steps_per_epoch == 0 or step == self.total_steps
        return whole and seconds_unsaved >= SECONDS_BETWEEN_SAVES
