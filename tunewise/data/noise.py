"""Images with noise as a model reads them: which noise, which timestep, and what is to be predicted.

Shape legend: N images, B images of a batch, C channels, H height, W width.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from functools import cached_property
from typing import TYPE_CHECKING

import numpy as np

from tunewise.data.pixels import Pixels

if TYPE_CHECKING:
    import torch

    from tunewise.models.noise_schedule import NoiseSchedule

_TRAINING, _FIXED, _SPREAD = 17, 18, 19  # keep these random numbers apart from each other and from all others


@dataclass(frozen=True)
class Drawn:
    """Which noise and timesteps: `epoch` that of a training, None for those that never change, which validation and
    tests have."""

    seed: int = 0
    epoch: int | None = None

    def noise(self, row: int, shape: tuple[int, ...]) -> np.ndarray:
        """The noise of a row, float32 of this shape: by seed, epoch and row alone."""
        return self._of_row(row)[0].standard_normal(shape, dtype=np.float32)

    def step(self, row: int, rows: int, steps: int) -> int:
        """The timestep of a row: drawn evenly in training; else the rows are spread evenly over all of them, the same
        way whatever the run."""
        if self.epoch is not None:
            return int(self._of_row(row)[1].integers(steps))
        return int((_spread(rows)[row] + 0.5) * steps / rows)

    def _of_row(self, row: int) -> tuple[np.random.Generator, np.random.Generator]:
        """What draws the noise, and what the timestep."""
        if self.epoch is None:
            numbers = np.random.SeedSequence([row, _FIXED])
        else:
            numbers = np.random.SeedSequence([self.seed, self.epoch, row, _TRAINING])
        noise, step = numbers.spawn(2)
        return np.random.default_rng(noise), np.random.default_rng(step)


_PLACES: dict[int, np.ndarray] = {}


def _spread(rows: int) -> np.ndarray:
    """The place of each row in an order that has nothing to do with that of the rows, int64 (rows,)."""
    if rows not in _PLACES:
        _PLACES[rows] = np.random.default_rng([rows, _SPREAD]).permutation(rows)
    return _PLACES[rows]


@dataclass(frozen=True, eq=False)
class NoisedPixels:
    """Images with noise, as `Inputs`.

    Args:
        pixels: the images, values from -1 to 1.
        classes_N: what each shows, int64 (N,); None where the model is not told.
        schedule: how noise is added.
        drawn: which noise.
        rows_N: the number of each image in its split, by which its noise is drawn; None for their order.
        gamma: see `NoiseSchedule.weights`.
    """

    pixels: Pixels
    classes_N: np.ndarray | None
    schedule: NoiseSchedule
    drawn: Drawn
    gamma: float | None = None
    rows_N: np.ndarray | None = None

    def __len__(self) -> int:
        return len(self.pixels)

    @property
    def elsewhere_seconds(self) -> float:
        """What making the pixels took another run."""
        return self.pixels.elsewhere_seconds

    @cached_property
    def lengths(self) -> np.ndarray:
        return self.pixels.lengths

    def shape(self, rows: Sequence[int] | np.ndarray) -> tuple[int, int]:
        """See `Inputs`."""
        return self.pixels.shape(rows)

    def batch(self, rows: Sequence[int] | np.ndarray) -> dict[str, torch.Tensor]:
        """pixel_values (the images with noise) and wanted, float32 (B, C, H, W); timestep and class_labels, int64 (B,);
        weight, float32 (B,)."""
        import torch

        rows = np.asarray(rows)
        images_BCHW = self.pixels.batch(rows)["pixel_values"].numpy()
        numbers_B = rows if self.rows_N is None else self.rows_N[rows]
        drawn, count = self.drawn, len(self)
        noise_BCHW = np.stack([drawn.noise(int(row), images_BCHW.shape[1:]) for row in numbers_B])
        steps_B = np.array([drawn.step(int(row), count, self.schedule.steps) for row in numbers_B], dtype=np.int64)
        made = {
            "pixel_values": self.schedule.noised(images_BCHW, noise_BCHW, steps_B),
            "wanted": self.schedule.wanted(images_BCHW, noise_BCHW, steps_B),
            "timestep": steps_B,
            "weight": self.schedule.weights(steps_B, self.gamma),
        }
        if self.classes_N is not None:
            made["class_labels"] = self.classes_N[rows]
        return {name: torch.from_numpy(np.ascontiguousarray(values)) for name, values in made.items()}
