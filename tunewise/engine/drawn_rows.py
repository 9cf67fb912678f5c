"""What the steps of a training may read in the place of the rows of `train`: made when a step reads it."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any, Protocol

import numpy as np
import torch
from torch import nn

from tunewise.engine.augmented import StepRows
from tunewise.engine.kept import Spent


class DrawnRows(Protocol):
    """Texts with other words than in the data (`engine.augmented`), images with other pixels
    (`engine.augmented_pictures`), or what the model writes (`engine.rollouts`)."""

    @property
    def described(self) -> str:
        """What gives the model other texts or images than those of the data."""
        ...

    def begin(self) -> Spent:
        """What was spent before the first step; nothing the second time."""
        ...

    def read(self, rows: np.ndarray, epoch: int, targets: torch.Tensor, step: int) -> StepRows:
        """What optimiser step `step` reads for these rows.

        Args:
            targets: of all rows of the split, as they are.
        """
        ...

    def begins_to_train(self, tensors: Mapping[str, nn.Parameter]) -> None:
        """Told of tensors before they train for the first time."""
        ...

    def state(self) -> tuple[dict[str, Any], dict[str, torch.Tensor]]:
        """What a checkpoint keeps, so that a resumed run reads the same: JSON and tensors."""
        ...

    def restore(self, state: Mapping[str, Any], tensors: Mapping[str, torch.Tensor]) -> None:
        """Takes up what `state` gave."""
        ...

    def told(self, changed: int, cut: int, read: int) -> str:
        """What was done, in a sentence; empty where there is nothing to tell.

        Args:
            changed, cut, read: rows of all steps: with other words, of these longer than the model reads, and all.
        """
        ...
