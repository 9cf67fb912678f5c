"""How noise is added to images: how much at which timestep, and what a model is to predict of it.

Shape legend: B images of a batch, C channels, H height, W width, T timesteps.
"""

from __future__ import annotations

from dataclasses import dataclass
from typing import Literal

import numpy as np

Prediction = Literal["epsilon", "sample", "v_prediction"]


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
