"""What the steps of a training may read in the place of the rows of `train`: made when a step reads it.

Shape legend: N rows of the split, B rows of a step.
"""

from __future__ import annotations

from abc import ABC, abstractmethod
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field
from typing import Any

import numpy as np
import torch
from torch import nn

from tunewise.data.inputs import Inputs, items_of
from tunewise.engine.kept import Spent


@dataclass
class StepRows:
    """What a step reads: inputs and targets under the numbers that its rows have in the data.

    Args:
        places: of the data's rows among the inputs; None where they are those of the data.

    Attributes:
        changed, cut: how many rows have other words (or pixels) than in the data; how many of these were longer than
            the model reads.
        others, share: rows are mixtures: `share` of each is itself, the rest the row of the target in `others`.
        figures, samples: for the log: numbers by name, and texts that the model wrote.
        passes: forward passes that were made for it besides those of the step.
    """

    inputs: Inputs
    targets: torch.Tensor
    places: np.ndarray | None = None
    changed: int = 0
    cut: int = 0
    figures: Mapping[str, float] = field(default_factory=dict)
    samples: Sequence[Mapping[str, Any]] = ()
    passes: float = 0.0
    others: torch.Tensor | None = None
    share: float = 1.0

    def batch(self, rows: np.ndarray) -> dict[str, torch.Tensor]:
        """The arguments of the model's forward pass."""
        return self.inputs.batch(self._at(rows))

    def targets_of(self, rows: np.ndarray) -> torch.Tensor:
        return self.targets[self._at(rows)]

    def others_of(self, rows: np.ndarray) -> torch.Tensor | None:
        """The targets of what these rows are mixed with; None where they are not."""
        return None if self.others is None else self.others[self._at(rows)]

    def lengths_of(self, rows: np.ndarray) -> np.ndarray:
        """Tokens of each row, int64 (B,)."""
        return self.inputs.lengths[self._at(rows)]

    def shape(self, rows: np.ndarray) -> tuple[int, int]:
        """What the model computes for these rows: sequences, and tokens of the longest."""
        return self.inputs.shape(self._at(rows))

    def items(self, rows: np.ndarray) -> int:
        """How many tokens of these rows are to be learnt, as `items_of` counts them."""
        return items_of(self.inputs, self._at(rows))

    def _at(self, rows: np.ndarray) -> np.ndarray:
        return rows if self.places is None else self.places[rows]


class DrawnRows(ABC):
    """Texts with other words than in the data (`engine.augmented`), images with other pixels
    (`engine.augmented_pictures`) or with noise (`engine.noised_images`), or what the model writes (`engine.rollouts`).

    What is drawn follows from seed, epoch, step and row, where a class does not say otherwise: nothing is made before
    the first step, nothing hangs on the weights, and there is nothing to keep for a resume.

    Attributes:
        described: what gives the model other texts or images than those of the data.
        not_spent: seconds of what `begin` tells that were only calculated (by an estimate).
    """

    described: str
    not_spent: float = 0.0

    @abstractmethod
    def read(self, rows: np.ndarray, epoch: int, targets: torch.Tensor, step: int) -> StepRows:
        """What optimiser step `step` reads for these rows.

        Args:
            targets: of all rows of the split, as they are.
        """

    @abstractmethod
    def told(self, changed: int, cut: int, read: int) -> str:
        """What was done, in a sentence; empty where there is nothing to tell.

        Args:
            changed, cut, read: rows of all steps: with other words or pixels, of these longer than the model reads, and
                all.
        """

    def begin(self) -> Spent:
        """What was spent before the first step; nothing the second time."""
        return Spent()

    def begins_to_train(self, tensors: Mapping[str, nn.Parameter]) -> None:
        """Told of tensors before they train for the first time."""

    def state(self) -> tuple[dict[str, Any], dict[str, torch.Tensor]]:
        """What a checkpoint keeps, so that a resumed run reads the same: JSON and tensors."""
        return {}, {}

    def restore(self, state: Mapping[str, Any], tensors: Mapping[str, torch.Tensor]) -> None:
        """Takes up what `state` gave."""
