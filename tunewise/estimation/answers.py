"""What passes between an estimate and the processes that measure for it."""

from __future__ import annotations

from dataclasses import dataclass

from tunewise.comparison.worker import Task
from tunewise.tracking.record import Problem


@dataclass(frozen=True)
class Question:
    """What would this run cost?

    Attributes:
        task: the run, as a comparison would begin it; its folder is of no use here.
        scratch: a folder of the process's own, which is deleted after.
        budget: seconds of training to carry out.
        reserve_bytes: memory that is left to the rest of the machine, whatever happens.
    """

    task: Task
    scratch: str
    budget: float
    reserve_bytes: int


@dataclass(frozen=True)
class Parts:
    """Seconds of a run: imports, reading the data and finding the model, loading it, what comes before the first step,
    the training (`types.Costs.train_seconds`) and its log, validations, the last evaluation, saving."""

    imports: float = 0.0
    data: float = 0.0
    load: float = 0.0
    prepare: float = 0.0
    train: float = 0.0
    log: float = 0.0
    validate: float = 0.0
    evaluate: float = 0.0
    save: float = 0.0

    @property
    def total(self) -> float:
        """Of the run alone."""
        return sum(vars(self).values())

    @property
    def marginal(self) -> float:
        """Of the run in a comparison, which imports and reads the data once for all."""
        return self.total - self.imports - self.data


@dataclass(frozen=True)
class RunCost:
    """What a run would cost.

    Attributes:
        seconds: of the run alone, its imports included.
        steps: optimiser steps; 0 without gradient descent. `measured_steps` of them were carried out, in `phases`
            plans of the method.
        common_bytes: memory of the process before its work, which it has in common with those beside it.
        checkpoint_bytes: of each of the checkpoints (two at a time) that there are while it trains.
        calibration_seconds: what it took to find out.
        notes: what could not be measured, and how it was bounded.
    """

    seconds: Parts
    steps: int = 0
    measured_steps: int = 0
    phases: int = 0
    forward_flops: float = 0.0
    backward_flops: float = 0.0
    trainable_parameters: int = 0
    total_parameters: int = 0
    peak_memory_bytes: int = 0
    common_bytes: int = 0
    saved_bytes: int = 0
    checkpoint_bytes: int = 0
    predict_ms_per_example: float = 0.0
    calibration_seconds: float = 0.0
    notes: tuple[str, ...] = ()


@dataclass(frozen=True)
class Refused:
    """Why there is no answer; `fits` is False where memory ran out."""

    problem: Problem
    fits: bool = True


Answer = RunCost | Refused
