"""What is asked of a side, and what it answers."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass
from pathlib import Path

METHODS = ("head", "full")


@dataclass(frozen=True)
class Asked:
    """The same for all sides. `folder` holds the model and the images, in train, val and test; `method` is one of
    `METHODS`. The rate falls linearly to 0, without warm-up and weight decay; gradients are clipped at 1."""

    folder: str
    method: str
    epochs: int
    batch: int
    rate: float
    seed: int = 0
    threads: int = 1
    precision: str = "fp32"

    @property
    def model(self) -> Path:
        return Path(self.folder) / "model"

    @property
    def images(self) -> Path:
        return Path(self.folder) / "images"


@dataclass(frozen=True)
class Found:
    """Of one training: `seconds` in which the training images were made pixels and the model learnt; `whole_seconds`
    from after the imports to after the test; memory above the imported process in bytes; accuracy on the test images
    with the last step's weights; optimiser steps; parameters that trained."""

    seconds: float
    whole_seconds: float
    above_bytes: int | None
    accuracy: float
    steps: int
    trained: int


Side = Callable[[Asked], Found]
