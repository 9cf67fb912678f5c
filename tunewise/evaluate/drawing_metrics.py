"""The rows of the table of metrics that are about models that draw images."""

from __future__ import annotations

import numpy as np

from tunewise.evaluate.metric import Metric
from tunewise.evaluate.sample import Sample
from tunewise.types import IMAGE_GENERATION, Task

IMAGES: tuple[Task, ...] = (IMAGE_GENERATION,)
DENOISING_ERROR = "denoising_error"

HO = "Ho et al. (2020), Denoising diffusion probabilistic models"


def denoising_error(sample: Sample) -> np.ndarray:
    """Mean over rows of the first number of each (`types.ROW_NUMBERS`), (R,)."""
    return sample.mean(sample.predictions.scores[:, 0])


DRAWING_METRICS: tuple[Metric, ...] = (
    Metric(
        DENOISING_ERROR,
        IMAGES,
        False,
        "mean squared error of what the model predicts of noised images (noise, image or v, as its scheduler says); "
        "each row has the same noise and timestep for every method, the rows being spread evenly over all timesteps",
        HO,
        denoising_error,
        "scores",
    ),
)
