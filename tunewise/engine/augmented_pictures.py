"""The images of a training step with other pixels than in the data, as `augment` wants them: made when they are read.

What becomes of an image follows from seed, epoch and row, and what it is mixed with from seed, step and the rows of the
step, so that neither the size of batches nor threads matter, and any step can be the first after a resume. Only
training reads them: validation, tests, what methods measure and what the cache keeps are the images of the data.

Where a part of an image is cut out, the image is decoded again, since that part is to have the pixels that it has in
the file; all else starts from the bytes that are kept, of the size that the model reads.

Shape legend: R rows of a step, C channels, H height, W width.
"""

from __future__ import annotations

import math
from dataclasses import dataclass, replace
from functools import cached_property
from typing import TYPE_CHECKING

import numpy as np
import torch

from tunewise.data.augment_pictures import ASPECT, changed_picture, crop_of
from tunewise.data.augment_settings import AugmentConfig
from tunewise.data.mixed_pixels import MixedPixels, drawn_mixture, mixture_generator
from tunewise.data.picture_table import each
from tunewise.data.pixels import Pixels
from tunewise.engine.drawn_rows import DrawnRows, StepRows
from tunewise.engine.pixels import decoded
from tunewise.errors import ModelError
from tunewise.models.load import Net
from tunewise.models.processor import FILE, Processor
from tunewise.types import Split

if TYPE_CHECKING:
    from PIL.Image import Image


@dataclass
class AugmentedPictures(DrawnRows):
    """The training images of a run, changed anew in each epoch and mixed in each step.

    Args:
        pixels: of all rows, as they are.
    """

    processor: Processor
    split: Split
    pixels: Pixels
    config: AugmentConfig
    seed: int

    def __post_init__(self) -> None:
        self._places = np.zeros(len(self.split), dtype=np.int64)

    @property
    def described(self) -> str:
        mixing = self.config.told_of("mixup", "cutmix")
        return ", ".join(told for told in (self.config.told, mixing) if told)

    def read(self, rows: np.ndarray, epoch: int, targets: torch.Tensor, step: int) -> StepRows:
        """The rows of a step in an epoch. A row that comes twice in it is the same both times.

        Args:
            targets: of all rows of the split, as they are.
        """
        unique = np.unique(rows)
        self._places[unique] = np.arange(len(unique))
        pixels, changed_R = self._changed(unique, epoch)
        found = StepRows(pixels, targets[unique], self._places)
        if self.config.mixup or self.config.cutmix:
            changed_R |= self._mix(found, step)
        return replace(found, changed=int(changed_R[self._places[rows]].sum()))

    def _changed(self, unique: np.ndarray, epoch: int) -> tuple[Pixels, np.ndarray]:
        """The images of these rows, and which of them have other pixels than in the data, bool (R,)."""
        plain_RCHW = self.pixels.stored[unique]
        if not self.config.changes_pixels:
            return replace(self.pixels, stored=plain_RCHW), np.zeros(len(unique), dtype=bool)
        places = list(enumerate(unique.tolist()))
        made_RCHW = np.stack(each(lambda place: self._made(plain_RCHW[place[0]], place[1], epoch), places))
        changed_R = (made_RCHW != plain_RCHW).reshape(len(unique), -1).any(axis=1)
        return replace(self.pixels, stored=made_RCHW), changed_R

    def _mix(self, found: StepRows, step: int) -> np.ndarray:
        """Mixes what was read with itself in another order; which rows are mixed with another, bool (R,)."""
        _, height, width = self.processor.shape
        count, config = len(found.inputs), self.config
        mixture = drawn_mixture(count, (width, height), config.mixup, config.cutmix, mixture_generator(self.seed, step))
        order_R = torch.from_numpy(mixture.order_R).to(found.targets.device)
        found.inputs = MixedPixels(found.inputs, mixture)
        found.others, found.share = found.targets[order_R], mixture.share
        return mixture.mixed_R

    def _made(self, plain_CHW: np.ndarray, row: int, epoch: int) -> np.ndarray:
        """An image as the model reads it, uint8 (C, H, W)."""
        order = list(self.processor.order)
        given = self._cropped(row, epoch) if self.config.crop else _image(plain_CHW[order])
        made = changed_picture(given, self.config, self.seed, epoch, row)
        if made is given and not self.config.crop:
            return plain_CHW
        found_CHW = np.empty_like(plain_CHW)
        found_CHW[order] = np.asarray(made).transpose(2, 0, 1)
        return found_CHW

    def _cropped(self, row: int, epoch: int) -> Image:
        """A part of the image of a row, resized to what the model reads, whatever the shape of the part."""
        _, height, width = self.processor.shape
        (picture,) = self.split.texts[row]
        image = decoded(picture, self._enough)
        box = crop_of(image.size, self.config, self.seed, epoch, row)
        return image.crop(box).resize((width, height), self.processor.resample)

    @cached_property
    def _enough(self) -> tuple[int, int]:
        """The sides of an image of which the smallest part has as many pixels as the model reads."""
        _, height, width = self.processor.shape
        return (math.ceil(max(height, width) * math.sqrt(ASPECT / self.config.crop)),) * 2

    def told(self, changed: int, cut: int, read: int) -> str:
        """What was done, in a sentence. `changed` and `read`: rows of all epochs with other pixels, and all."""
        return (
            f"augmentation ({self.described}): of {read:,} images read in training, {changed:,} had other pixels than "
            "in the data"
        )


def _image(values_CHW: np.ndarray) -> Image:
    from PIL import Image as pillow

    return pillow.fromarray(np.ascontiguousarray(values_CHW.transpose(1, 2, 0)))


def augmented_pictures(
    net: Net, split: Split, pixels: Pixels, config: AugmentConfig, seed: int
) -> AugmentedPictures | None:
    """What training reads in the place of the images of `split`; None where the recipe leaves them as they are.

    Raises:
        ModelError: images are changed as bytes of red, green and blue, and the model's processor gives something else.
    """
    if not (config.changes_pixels or config.mixup or config.cutmix):
        return None
    found = AugmentedPictures(net.processor, split, pixels, config, seed)
    if config.changes_pixels and net.processor.order is None:
        raise ModelError(
            f"{found.config.told} changes bytes of red, green and blue, which this model's image processor does not "
            "give",
            where=f"augment; {net.located.path / FILE}",
            fix="leave augment out but for mixup and cutmix, or take a model with a usual processor",
        )
    return found
