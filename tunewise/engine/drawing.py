"""Images drawn by a diffusion model: from noise that follows from seed and number alone, by DDIM.

Shape legend: N images, B images of a batch, C channels, H height, W width.
"""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass, field

import numpy as np
import torch
from torch import nn

from tunewise.errors import RecipeError
from tunewise.models.drawn_pixels import to_bytes
from tunewise.models.load import Net
from tunewise.models.memory import PassSize
from tunewise.models.modes import eval_mode
from tunewise.models.wrapped import plain_model

BATCH = 64
_NOISE = 23  # keeps these random numbers apart from all others of the same seed


def noise_of(numbers: np.ndarray, shape: tuple[int, ...], seed: int) -> np.ndarray:
    """The noise that each image begins as, float32 (N, *shape): whatever else is drawn, an image of this number begins
    as this."""
    made = [np.random.default_rng([seed, int(number), _NOISE]).standard_normal(shape, np.float32) for number in numbers]
    return np.stack(made) if made else np.empty((0, *shape), np.float32)


@dataclass
class Drawer:
    """Draws by denoising diffusion implicit models (Song et al. 2021, "Denoising diffusion implicit models", equation
    12, with eta 0: nothing random after the first noise), as diffusers' `DDIMScheduler` has it.

    Args:
        steps: of denoising, spread over the timesteps of training as the scheduler says.
        stop: is called before each batch, and may raise.
        size: of batches that are known to fit into memory.

    Raises:
        RecipeError: the model has fewer timesteps than that.
    """

    net: Net
    steps: int
    batch_size: int = BATCH
    stop: Callable[[], None] = lambda: None
    size: PassSize = field(default_factory=PassSize)

    def __post_init__(self) -> None:
        if self.steps > self.net.noise.steps:
            raise RecipeError(
                f"{self.steps} steps of denoising are more than the {self.net.noise.steps} timesteps of the model",
                where="steps",
                fix=f"take at most {self.net.noise.steps}",
            )

    def images(self, numbers: np.ndarray, classes_N: np.ndarray | None, seed: int) -> np.ndarray:
        """The images of these numbers as bytes, uint8 (N, C, H, W).

        Args:
            classes_N: what each is to show, by its number among the labels; None for a model without classes.
        """
        noise_NCHW = noise_of(numbers, self.net.processor.shape, seed)
        return to_bytes(self.denoised(noise_NCHW, classes_N))

    def denoised(self, noise_NCHW: np.ndarray, classes_N: np.ndarray | None) -> np.ndarray:
        """What becomes of this noise, float32 (N, C, H, W), black being -1 and white 1."""
        model, count = self.net.model, len(noise_NCHW)
        device = next(model.parameters()).device
        found = np.empty_like(noise_NCHW)

        def made(rows: np.ndarray) -> torch.Tensor:
            self.stop()
            noise_BCHW = torch.from_numpy(noise_NCHW[rows]).to(device)
            classes_B = None if classes_N is None else torch.from_numpy(classes_N[rows]).to(device)
            return self._batch(model, noise_BCHW, classes_B)

        batches = [np.arange(start, min(count, start + self.batch_size)) for start in range(0, count, self.batch_size)]
        with eval_mode(model), torch.no_grad():
            for rows, images_BCHW in self.size.run(batches, np.ones(count, dtype=np.int64), made):
                found[rows] = images_BCHW.float().cpu().numpy()
        return found

    def _batch(self, model: nn.Module, hidden_BCHW: torch.Tensor, classes_B: torch.Tensor | None) -> torch.Tensor:
        from diffusers import DDIMScheduler

        scheduler = DDIMScheduler.from_config({**plain_model(model).config.scheduler})
        scheduler.set_timesteps(self.steps)
        for timestep in scheduler.timesteps:
            steps_B = timestep.to(hidden_BCHW.device).expand(len(hidden_BCHW))
            predicted_BCHW = model(pixel_values=hidden_BCHW, timestep=steps_B, class_labels=classes_B)
            hidden_BCHW = scheduler.step(predicted_BCHW, timestep, hidden_BCHW, eta=0.0).prev_sample
        return hidden_BCHW
