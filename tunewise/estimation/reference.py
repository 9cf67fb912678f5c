"""What a reference would cost: the untrained model's outputs for some rows, from which those of all are calculated."""

from __future__ import annotations

import time
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field

import numpy as np
import torch

from tunewise.data.inputs import Inputs
from tunewise.data.taken import even_places
from tunewise.engine.before_training import Untrained
from tunewise.engine.kept import Spent
from tunewise.evaluate.predict import Outputs

ROWS = 64
"""Of each split that are computed."""


class SomeRows:
    """The rows of a split at these places, as `Inputs`."""

    def __init__(self, whole: Inputs, places: np.ndarray):
        self.lengths, self._whole, self._places = whole.lengths[places], whole, places
        counts = getattr(whole, "counts", None)
        self.counts = None if counts is None else counts[places]

    def __len__(self) -> int:
        return len(self._places)

    def shape(self, rows: Sequence[int] | np.ndarray) -> tuple[int, int]:
        """See `Inputs`."""
        return self._whole.shape(self._places[np.asarray(rows)])

    def batch(self, rows: Sequence[int] | np.ndarray) -> dict[str, torch.Tensor]:
        """See `Inputs`."""
        return self._whole.batch(self._places[np.asarray(rows)])


@dataclass
class SomeUntrained(Untrained):
    """Computes `ROWS` rows of each split, spread from the shortest to the longest; the others get their mean, which
    changes losses, and nothing that costs. Counts as spent what all rows of the data take, and reads nothing that is
    kept.

    Args:
        larger: how many times as many rows a split of the data has as that which is asked about.

    Attributes:
        seconds: that it really took.
    """

    larger: Mapping[str, float] = field(default_factory=dict)
    seconds: float = field(default=0.0, init=False)

    def outputs(self, read: Inputs, wanted: Outputs) -> np.ndarray:
        """See `Untrained`."""
        places = np.arange(len(read)) if len(read) <= ROWS else even_places(read.lengths, ROWS)
        begun = time.perf_counter()
        some, flops = self._compute(SomeRows(read, places), wanted)
        took, whole = time.perf_counter() - begun, self._pass_flops(read)
        self.seconds += took
        times = next((self.larger.get(name, 1.0) for name, rows in self.splits.items() if rows is read), 1.0)
        self.spent += Spent(took * times * whole / flops, whole * times)
        array = np.repeat(some.mean(axis=0, keepdims=True), len(read), axis=0)
        array[places] = some
        return array
