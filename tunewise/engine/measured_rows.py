"""The rows that a method measures on before it plans: those of the data, or prompts with the answers of a round.

Shape legend: N rows of the data, R prompts of a round.
"""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from contextlib import contextmanager
from dataclasses import dataclass
from functools import cached_property

import numpy as np
import torch

from tunewise.data.inputs import Inputs
from tunewise.data.rollout_tokens import PromptTokens
from tunewise.engine.course import Course
from tunewise.engine.drawn_rows import StepRows
from tunewise.engine.feed import Feed
from tunewise.methods.base import Method
from tunewise.models.load import Net
from tunewise.objectives.base import Objective
from tunewise.types import Plan


@dataclass(frozen=True)
class MeasuredRows:
    """`numbers`: rows that may be measured, int64 (n,). `reading`: what the model reads of them. `inputs`: the shapes
    of these, and of all rows of the steps to come."""

    numbers: np.ndarray
    reading: StepRows
    inputs: Inputs

    @property
    def silent(self) -> bool:
        """No answer of the round was better than expected, so that the loss says nothing of any tensor."""
        signals = getattr(self.reading.inputs, "signals", {})
        return "advantages" in signals and not np.any(signals["advantages"])


@contextmanager
def measured_rows(
    net: Net, objective: Objective, feed: Feed, course: Course, targets: torch.Tensor, step: int, begun: bool
) -> Iterator[MeasuredRows]:
    """What to measure on before optimiser step `step`: the training rows as they are; where rows are prompts, those of
    the round of that step, which is written here if it is not there yet and stays for the steps that learn from it.

    Args:
        targets: of the rows of `train`.
        begun: the training has, so that modules of the objective stand beside the model already.
    """
    inputs = feed.inputs["train"]
    if not objective.writes:
        yield MeasuredRows(np.arange(len(inputs)), StepRows(inputs, targets), inputs)
        return
    if not begun:
        objective.attach(net.model)
        net.to(targets.device)
    try:
        rows = course.rows(step)
        reading = feed.augmented.read(rows, course.epoch_at(step), targets, step)
        batches = course.micro_batches(step)
        yield MeasuredRows(np.unique(rows), reading, AnsweredPrompts(inputs, reading, np.unique(rows), batches))
    finally:
        if not begun:
            objective.detach(net.model)


def check_answers(plan: Plan, method: Method) -> None:
    """The answers that a plan was measured on must be those of the model that it makes: the first steps learn from
    them.

    Raises:
        MethodError: they are not.
    """
    if plan.reset or plan.virtual_tokens or (plan.inserts and not method.starts_unchanged):
        method.refuse(
            "it was measured on what the model wrote, but makes a model of it that would write something else before "
            "the first step",
            instead="lora",
        )


@dataclass(frozen=True, eq=False)
class AnsweredPrompts:
    """Prompts, as `Inputs`, of which those of a round have been answered: what steps with them compute. The answers
    that other prompts will get are taken to be as long as those of the round.

    Args:
        read: the round, under the data's numbers.
        rows: its rows, (R,).
        batches: its batches.
    """

    prompts: PromptTokens
    read: StepRows
    rows: np.ndarray
    batches: Sequence[np.ndarray]

    def __len__(self) -> int:
        return len(self.prompts)

    @property
    def lengths(self) -> np.ndarray:
        """Tokens of each prompt, int64 (N,)."""
        return self.prompts.lengths

    @cached_property
    def counts(self) -> np.ndarray:
        """How many tokens of each row are to be learnt, int64 (N,)."""
        of_round_R = np.array([self.read.items(np.array([row])) for row in self.rows])
        counts_N = np.full(len(self), round(float(of_round_R.mean())))
        counts_N[self.rows] = of_round_R
        return counts_N

    def shape(self, rows: Sequence[int] | np.ndarray) -> tuple[int, int]:
        """See `Inputs`."""
        rows = np.asarray(rows)
        if np.isin(rows, self.rows).all():
            return self.read.shape(rows)
        sequences, answered = self._beside_prompts
        return round(sequences * len(rows)), round(self.prompts.shape(rows)[1] + answered)

    def batch(self, rows: Sequence[int] | np.ndarray) -> dict[str, torch.Tensor]:
        return self.read.batch(np.asarray(rows))

    @cached_property
    def _beside_prompts(self) -> tuple[float, float]:
        """Of the batches of the round, in the mean: sequences of a row, and by how much the longest sequence of a batch
        is longer than its longest prompt."""
        shapes = [(self.read.shape(rows), self.prompts.shape(rows)[1], len(rows)) for rows in self.batches]
        sequences = np.mean([shape[0] / rows for shape, _, rows in shapes])
        return float(sequences), float(np.mean([shape[1] - prompt for shape, prompt, _ in shapes]))
