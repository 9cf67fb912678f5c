"""Noise on images: how much at which timestep, what a model is to predict of it, and images as a model reads them.

Shape legend: N images, B images of a batch, C channels, H height, W width, T timesteps.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from functools import cached_property
from typing import TYPE_CHECKING, Literal

import numpy as np

from tunewise.data.pixels import Pixels

if TYPE_CHECKING:
    import torch

Prediction = Literal["epsilon", "sample", "v_prediction"]

_TRAINING, _FIXED, _SPREAD = 17, 18, 19  # keep these random numbers apart from each other and from all others


@dataclass(frozen=True, eq=False)
class NoiseSchedule:
    """x_t = sqrt(a_t) x_0 + sqrt(1 - a_t) e, with e from N(0, 1) (Ho et al. 2020, "Denoising diffusion probabilistic
    models", equation 4, where a_t is written with a bar).

    Attributes:
        alphas_T: a_t of each timestep, float32 (T,), falling.
        prediction: what the model predicts: the noise e (epsilon), x_0 (sample), or v = sqrt(a_t) e - sqrt(1 - a_t)
            x_0 (v_prediction; Salimans and Ho 2022, "Progressive distillation for fast sampling of diffusion models").
    """

    alphas_T: np.ndarray
    prediction: Prediction

    @property
    def steps(self) -> int:
        """How many timesteps there are, T."""
        return len(self.alphas_T)

    def noised(self, images_BCHW: np.ndarray, noise_BCHW: np.ndarray, steps_B: np.ndarray) -> np.ndarray:
        """The images with noise, float32 (B, C, H, W)."""
        kept, added = self._roots(steps_B)
        return kept * images_BCHW + added * noise_BCHW

    def wanted(self, images_BCHW: np.ndarray, noise_BCHW: np.ndarray, steps_B: np.ndarray) -> np.ndarray:
        """What the model is to predict, float32 (B, C, H, W)."""
        if self.prediction == "epsilon":
            return noise_BCHW
        if self.prediction == "sample":
            return images_BCHW
        kept, added = self._roots(steps_B)
        return kept * noise_BCHW - added * images_BCHW

    def weights(self, steps_B: np.ndarray, gamma: float | None) -> np.ndarray:
        """By what the squared error of each image is multiplied, float32 (B,): 1; with a gamma, what makes it count as
        min(SNR, gamma) of the error of x_0, where SNR = a_t / (1 - a_t) (Hang et al. 2023, "Efficient diffusion
        training via min-SNR weighting strategy"): min(SNR, gamma) / SNR for the noise, / (SNR + 1) for v."""
        if gamma is None:
            return np.ones(len(steps_B), dtype=np.float32)
        alphas_B = self.alphas_T[steps_B].astype(np.float64)
        ratio_B = alphas_B / np.maximum(1.0 - alphas_B, 1e-12)
        least_B = np.minimum(ratio_B, gamma)
        if self.prediction == "epsilon":
            found = np.divide(least_B, ratio_B, out=np.ones_like(ratio_B), where=ratio_B > 0)
        else:
            found = least_B if self.prediction == "sample" else least_B / (ratio_B + 1.0)
        return found.astype(np.float32)

    def _roots(self, steps_B: np.ndarray) -> tuple[np.ndarray, np.ndarray]:
        alphas_B111 = self.alphas_T[steps_B].astype(np.float32)[:, None, None, None]
        return np.sqrt(alphas_B111), np.sqrt(np.float32(1.0) - alphas_B111)


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
