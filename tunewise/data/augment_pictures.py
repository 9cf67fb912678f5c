"""Training images with other pixels in each epoch: a part of them, mirrored, in other colours, after RandAugment.

Random resized crop as in Szegedy et al. (2015, "Going deeper with convolutions") and colours as in Howard (2013), both
as torchvision carries them out. What becomes of an image follows from seed, epoch and the row's place alone, and each
option draws numbers of its own: switching one on leaves what the others do as it is.
"""

from __future__ import annotations

import math
from typing import TYPE_CHECKING

import numpy as np

from tunewise.data.augment_settings import PICTURES, AugmentConfig
from tunewise.data.picture_augment_settings import ColourConfig
from tunewise.data.rand_augment import rand_augmented

if TYPE_CHECKING:
    from PIL.Image import Image

ASPECT = 4 / 3
"""Width to height of what is cut out: from 3:4 to 4:3."""
TRIES = 10

_PIXELS_OF_A_ROW = 17  # keeps these random numbers apart from all others of the same seed

Box = tuple[int, int, int, int]
"""Left, upper, right, lower; in pixels."""


def picture_generator(seed: int, epoch: int, row: int, option: str) -> np.random.Generator:
    """The random numbers that an option draws for a row in an epoch."""
    return np.random.default_rng([seed, epoch, row, PICTURES.index(option), _PIXELS_OF_A_ROW])


def crop_of(size: tuple[int, int], config: AugmentConfig, seed: int, epoch: int, row: int) -> Box:
    """The part of an image of this width and height that a row is in an epoch."""
    return crop_box(*size, config.crop, picture_generator(seed, epoch, row, "crop"))


def crop_box(width: int, height: int, least: float, generator: np.random.Generator) -> Box:
    """A part of an image: its share of the area from `least` to 1, its aspect (in logarithms) from 3:4 to 4:3, both
    uniform, anywhere. Where ten such do not fit, the middle of the image: all of it, or as much as 4:3 has."""
    for _ in range(TRIES):
        area = width * height * generator.uniform(least, 1)
        aspect = math.exp(generator.uniform(-math.log(ASPECT), math.log(ASPECT)))
        across, down = round(math.sqrt(area * aspect)), round(math.sqrt(area / aspect))
        if 0 < across <= width and 0 < down <= height:
            left, upper = (int(generator.integers(room + 1)) for room in (width - across, height - down))
            return left, upper, left + across, upper + down
    across, down = min(width, round(height * ASPECT)), min(height, round(width * ASPECT))
    left, upper = (width - across) // 2, (height - down) // 2
    return left, upper, left + across, upper + down


def changed_picture(image: Image, config: AugmentConfig, seed: int, epoch: int, row: int) -> Image:
    """The RGB image of a row in an epoch, as large: mirrored, in other colours, after RandAugment, in this order. The
    very same where nothing was drawn."""
    from PIL import Image as pillow

    if config.flip and picture_generator(seed, epoch, row, "flip").random() < config.flip:
        image = image.transpose(pillow.Transpose.FLIP_LEFT_RIGHT)
    if config.colour:
        image = coloured(image, config.colour, picture_generator(seed, epoch, row, "colour"))
    if config.rand_augment:
        image = rand_augmented(image, config.rand_augment, picture_generator(seed, epoch, row, "rand_augment"))
    return image


def coloured(image: Image, config: ColourConfig, generator: np.random.Generator) -> Image:
    """Brightness, contrast, saturation and hue, one after the other in an order that is drawn."""
    from PIL import ImageEnhance

    factors = [1 + generator.uniform(-most, most) for most in (config.brightness, config.contrast, config.saturation)]
    steps = int(generator.uniform(-config.hue, config.hue) * 255)
    kinds = (ImageEnhance.Brightness, ImageEnhance.Contrast, ImageEnhance.Color)
    for number in generator.permutation(4).tolist():
        if number == 3:
            image = turned_hue(image, steps)
        elif factors[number] != 1:
            image = kinds[number](image).enhance(factors[number])
    return image


def turned_hue(image: Image, steps: int) -> Image:
    """Every hue so many 255ths further around the colour circle; the very same image for 0, since an image in hues has
    lost some of its values."""
    from PIL import Image as pillow

    if not steps:
        return image
    hue, saturation, value = image.convert("HSV").split()
    turned = pillow.fromarray(np.asarray(hue) + np.array(steps % 256, dtype=np.uint8))
    return pillow.merge("HSV", (turned, saturation, value)).convert("RGB")
