"""How a model that draws images is looked at: options of a recipe's `evaluate.drawing`."""

from __future__ import annotations

from pydantic import Field

from tunewise.config.base import Config


class DrawingConfig(Config):
    images: int = Field(default=200, ge=1, le=100_000)
    """So many images are drawn before and after training, of classes as the rows of the first test set have them. FID
    needs more than the features of what judges them (64 of a classifier of the data), and at least 50; KID needs 10."""

    steps: int = Field(default=25, ge=1)
    """Steps of denoising (DDIM) of each."""

    seed: int = Field(default=0, ge=0)
    """Decides the noise that each image begins as: the same before and after, and for all methods."""

    extractor: str | None = None
    """The classifier whose features FID, KID and the Inception score are made of: a folder, a run of image
    classification, or an id of the hub. Where left out: one that is trained on the classes of the training images."""

    shown: int = Field(default=16, ge=0, le=100)
    """How many of them the report shows, side by side."""
