"""What a diffusion model reads: every split with noise that never changes, and training rows with other noise in each
epoch."""

from __future__ import annotations

from dataclasses import dataclass, replace

import numpy as np
import torch

from tunewise.data.noise import Drawn, NoisedPixels
from tunewise.data.picture import Picture
from tunewise.engine.augmented_pictures import AugmentedPictures, augmented_pictures
from tunewise.engine.drawn_rows import DrawnRows, StepRows
from tunewise.engine.encode import encode
from tunewise.engine.events import Warned
from tunewise.engine.job import Job
from tunewise.models.load import Net
from tunewise.types import Split

NAMED = 3


def noised_splits(net: Net, job: Job) -> dict[str, NoisedPixels]:
    """The inputs of all splits; how many images lose something at their sides is told.

    Of validation and tests, noise and timesteps are the same in every epoch and every run: what is measured on them can
    be compared.
    """
    found = {}
    for name, split in job.data.splits.items():
        if told := told_crops(split, net):
            job.observers.emit(Warned(told))
        classes = split.targets if job.data.schema.labels else None
        gamma = job.objective.gamma if name == "train" else None
        found[name] = NoisedPixels(encode(split.texts, net, job.context), classes, net.noise, Drawn(), gamma)
    return found


def told_crops(split: Split, net: Net) -> str | None:
    """How many images of a split are not of the form that the model draws, so that their sides are cut off."""
    _, height, width = net.processor.shape
    pictures = [picture for (picture,) in split.texts if isinstance(picture, Picture) and picture.facts]
    cut = [one.shown for one in pictures if net.processor.cuts((one.facts.width, one.facts.height))]
    if not cut:
        return None
    named = ", ".join(cut[:NAMED]) + (", ..." if len(cut) > NAMED else "")
    return (
        f"{len(cut):,} of {len(split):,} images of {split.name} are not of the form of {width}x{height} pixels that "
        f"the model draws: what is beyond the middle part is cut off ({named})"
    )


@dataclass
class NoisedImages(DrawnRows):
    """The training images of a run with noise and timesteps drawn anew in each epoch, from seed, epoch and row.

    Args:
        inputs: of all rows.
        pictures: what changes images before noise is added; None where nothing does.
    """

    inputs: NoisedPixels
    seed: int
    pictures: AugmentedPictures | None = None

    def __post_init__(self) -> None:
        self._places = np.zeros(len(self.inputs), dtype=np.int64)

    @property
    def described(self) -> str:
        changed = f", and {self.pictures.described}" if self.pictures else ""
        return f"noise of its own in each epoch{changed}"

    def read(self, rows: np.ndarray, epoch: int, targets: torch.Tensor, step: int) -> StepRows:
        """The rows of a step in an epoch. A row that comes twice in it is the same both times.

        Args:
            targets: of all rows of the split.
        """
        unique, whole = np.unique(rows), self.inputs
        self._places[unique] = np.arange(len(unique))
        if self.pictures is None:
            pixels, changed = replace(whole.pixels, stored=whole.pixels.stored[unique]), 0
        else:
            made = self.pictures.read(rows, epoch, targets, step)
            pixels, changed = made.inputs, made.changed
        classes = None if whole.classes_N is None else whole.classes_N[unique]
        drawn = Drawn(self.seed, epoch)
        noised = replace(whole, pixels=pixels, classes_N=classes, drawn=drawn, rows_N=unique)
        return StepRows(noised, targets[unique], self._places, changed=changed)

    def told(self, changed: int, cut: int, read: int) -> str:
        return self.pictures.told(changed, cut, read) if self.pictures else ""


def noised_images(net: Net, job: Job, inputs: NoisedPixels) -> NoisedImages:
    """What training reads in the place of the images of `train`."""
    train = job.data.splits["train"]
    return NoisedImages(inputs, job.seed, augmented_pictures(net, train, inputs.pixels, job.augment, job.seed))
