"""The validations of a training: which was the best, whose weights are kept, and what is told of them."""

from __future__ import annotations

import math
from collections.abc import Callable, Mapping
from itertools import pairwise

import numpy as np
import torch

from tunewise.engine.course import Course
from tunewise.engine.events import Evaluated, Observers, Phase, Warned
from tunewise.engine.finite import check_finite
from tunewise.engine.progress import Progress
from tunewise.engine.settings import TrainConfig
from tunewise.models.batch_norm import running_statistics
from tunewise.models.blocks import named_tensors
from tunewise.models.load import Net
from tunewise.objectives.base import Objective


class Validated:
    """A training as far as validations go; `engine.loop` has its fields, and what happens between validations."""

    net: Net
    objective: Objective
    config: TrainConfig
    course: Course
    progress: Progress
    observers: Observers
    validate: Callable[[], tuple[float, float, Mapping[str, float]]]
    greater_is_better: bool
    best: dict[str, torch.Tensor] | None

    def _validate(self) -> None:
        progress = self.progress
        self.observers.emit(Phase("validating", progress.step))
        check_finite(self._trained(), progress.step)
        loss, value, scores = self.validate()
        train_loss = progress.loss_sum / progress.loss_steps if progress.loss_steps else math.nan  # all were skipped
        progress.loss_sum, progress.loss_steps = 0.0, 0
        epoch = self.course.epoch_of(progress.step)
        progress.curve.append(
            {"step": progress.step, "epoch": epoch, "train_loss": train_loss, "validation_loss": loss, "metric": value}
        )
        self.observers.emit(
            Evaluated(step=progress.step, epoch=epoch, split="validation", loss=loss, scores=dict(scores))
        )
        if not (np.isfinite(loss) and np.isfinite(value)):
            self._warn(f"validation at step {progress.step} has loss {loss:g} and metric {value:g}: it is not the best")
            progress.without_gain += 1
        elif self._is_best(value):
            progress.best_step, progress.best_value, progress.without_gain = progress.step, value, 0
            if self.config.keep_best:
                self.best = copies(self._trained())
        else:
            progress.without_gain += 1
        if self.config.early_stopping and progress.without_gain >= self.config.early_stopping:
            progress.stopped_early = True
        self._warn_of_overfitting()

    def _is_best(self, value: float) -> bool:
        best = self.progress.best_value
        return best is None or (value > best if self.greater_is_better else value < best)

    def _warn_of_overfitting(self) -> None:
        """Once, where the training loss fell and the validation loss rose two validations in a row."""
        parted = [
            after["train_loss"] < before["train_loss"] and after["validation_loss"] > before["validation_loss"]
            for before, after in pairwise(self.progress.curve)
        ]
        twice = [first and second for first, second in pairwise(parted)]
        if self.objective.comparable and twice and twice[-1] and not any(twice[:-1]):
            advice = "the best weights are kept" if self.config.keep_best else "set keep_best, or fewer epochs"
            self._warn(f"training and validation part at step {self.progress.step}: over-fitting ({advice})")

    def _take_best(self) -> None:
        if self.config.keep_best and self.best is not None and self.progress.best_step != self.progress.step:
            self._set_weights(self.best)

    def _trained(self) -> dict[str, torch.nn.Parameter]:
        tensors = named_tensors(self.net.model)
        trained = {name: tensors[name] for name in self.progress.trained}
        return trained | self._statistics(trained)

    def _statistics(self, trained: Mapping[str, torch.Tensor]) -> dict[str, torch.Tensor]:
        """What batch norms with a tensor among these have come to know of the data, where they may."""
        return running_statistics(self.net.model, trained) if self.net.updates_batch_norm else {}

    def _set_weights(self, weights: Mapping[str, torch.Tensor]) -> None:
        tensors = named_tensors(self.net.model)
        tensors |= self._statistics(tensors)
        with torch.no_grad():
            for name, value in weights.items():
                tensors[name].copy_(value)

    def _warn(self, message: str, step: int | None = None) -> None:
        self.observers.emit(Warned(message, self.progress.step if step is None else step))


def copies(tensors: Mapping[str, torch.Tensor]) -> dict[str, torch.Tensor]:
    return {name: tensor.detach().cpu().clone() for name, tensor in tensors.items()}
