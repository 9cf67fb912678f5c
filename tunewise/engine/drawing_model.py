"""A trained diffusion model: what `tunewise.load` gives of a run of image generation."""

from __future__ import annotations

from pathlib import Path
from typing import TYPE_CHECKING, NoReturn

import numpy as np
import torch

from tunewise.data.picture_grid import as_images
from tunewise.data.table import nearest
from tunewise.engine.drawing import BATCH, Drawer
from tunewise.engine.handover import load_model
from tunewise.engine.model_meta import schema_from
from tunewise.errors import DataError
from tunewise.models.memory import memory_told

if TYPE_CHECKING:
    from PIL.Image import Image

STEPS = 50


class DrawingModel:
    """Draws images: `load("runs/one").sample(16)`; of a class, `sample(16, label="8")`.

    Attributes:
        labels: the classes that can be asked for; empty where it draws without being told one.
        task: image_generation.
    """

    def __init__(self, folder: Path, device: str = "cpu"):
        with memory_told("loading the model"):
            self._net, _, _, meta = load_model(folder, torch.device(device))
        self.schema = schema_from(meta["schema"])
        self.labels, self.task = self.schema.labels, self.schema.task

    def sample(
        self,
        number: int,
        label: str | None = None,
        *,
        steps: int = STEPS,
        seed: int = 0,
        batch_size: int = BATCH,
    ) -> list[Image]:
        """Images of Pillow, grey or RGB. The same seed gives the same images, however many are drawn.

        Args:
            label: the class to draw; where left out, each class in turn.
            steps: of denoising (DDIM): more take longer, and are finer.

        Raises:
            DataError: the model knows no such class, or no classes.
            RecipeError: more steps than the model was trained with.
            OutOfMemoryError: a single image does not fit.
        """
        drawer = Drawer(self._net, steps, batch_size)
        return as_images(drawer.images(np.arange(number), self.classes(number, label), seed))

    def classes(self, number: int, label: str | None = None) -> np.ndarray | None:
        """The class of each image, by its place among the labels, int64 (number,); None where there are none."""
        if label is not None and label not in self.labels:
            near = nearest(label, self.labels)
            fix = f"did you mean '{near}'?" if near else f"the classes are {', '.join(self.labels[:20])}"
            raise DataError(
                f"the model knows no class '{label:.80}'" if self.labels else "the model draws without classes",
                where="label",
                fix=fix if self.labels else "leave the label out",
            )
        if not self.labels:
            return None
        if label is not None:
            return np.full(number, self.labels.index(label), dtype=np.int64)
        return np.arange(number, dtype=np.int64) % len(self.labels)

    def predict(self, *_: object, **__: object) -> NoReturn:
        """Images are drawn, not predicted for.

        Raises:
            DataError: always.
        """
        raise DataError(
            "the model draws images, and answers nothing about given ones",
            fix="draw by `sample` (`tunewise sample RUN --number 64 --out FOLDER`)",
        )
