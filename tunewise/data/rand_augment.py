"""The 14 operations of RandAugment (Cubuk et al. 2020, "RandAugment: practical automated data augmentation with a
reduced search space"), at the magnitudes that torchvision gives them.

What comes in from outside an image is grey, as in the authors' code, and is interpolated bilinearly.
"""

from __future__ import annotations

from collections.abc import Callable
from typing import TYPE_CHECKING

import numpy as np

from tunewise.data.picture_augment_settings import MOST_MAGNITUDE, RandAugmentConfig

if TYPE_CHECKING:
    from PIL.Image import Image

GREY = (128, 128, 128)
SHEAR = 0.3
MOVED = 150 / 331
"""Of the width or height; 150 pixels of the 331 that AutoAugment's images had."""
TURNED = 30.0
ENHANCED = 0.9
BITS = 4


def rand_augmented(image: Image, config: RandAugmentConfig, generator: np.random.Generator) -> Image:
    """The RGB image after as many operations, each drawn from all; half of those that have a direction go the other
    way. The image itself where they change nothing."""
    chosen = generator.integers(len(OPERATIONS), size=config.operations)
    signs = np.where(generator.random(config.operations) < 0.5, -1.0, 1.0)
    names = list(OPERATIONS)
    for number, sign in zip(chosen, signs, strict=True):
        image = OPERATIONS[names[number]](image, config.magnitude / MOST_MAGNITUDE, float(sign))
    return image


def _moved(image: Image, matrix: tuple[float, ...]) -> Image:
    """A pixel (x, y) is what the image has at (a x + b y + c, d x + e y + f)."""
    from PIL import Image as pillow

    return image.transform(image.size, pillow.Transform.AFFINE, matrix, pillow.Resampling.BILINEAR, fillcolor=GREY)


def _shear_x(image: Image, strength: float, sign: float) -> Image:
    return _moved(image, (1, sign * strength * SHEAR, 0, 0, 1, 0))


def _shear_y(image: Image, strength: float, sign: float) -> Image:
    return _moved(image, (1, 0, 0, sign * strength * SHEAR, 1, 0))


def _translate_x(image: Image, strength: float, sign: float) -> Image:
    return _moved(image, (1, 0, sign * int(strength * MOVED * image.width), 0, 1, 0))


def _translate_y(image: Image, strength: float, sign: float) -> Image:
    return _moved(image, (1, 0, 0, 0, 1, sign * int(strength * MOVED * image.height)))


def _rotate(image: Image, strength: float, sign: float) -> Image:
    from PIL import Image as pillow

    return image.rotate(sign * strength * TURNED, pillow.Resampling.BILINEAR, fillcolor=GREY)


def _enhance(kind: str) -> Callable[[Image, float, float], Image]:
    def enhanced(image: Image, strength: float, sign: float) -> Image:
        from PIL import ImageEnhance

        return getattr(ImageEnhance, kind)(image).enhance(1 + sign * strength * ENHANCED)

    return enhanced


def _posterize(image: Image, strength: float, sign: float) -> Image:
    from PIL import ImageOps

    return ImageOps.posterize(image, 8 - round(strength * BITS))


def _solarize(image: Image, strength: float, sign: float) -> Image:
    from PIL import ImageOps

    return ImageOps.solarize(image, int(np.ceil(255 * (1 - strength))))


def _auto_contrast(image: Image, strength: float, sign: float) -> Image:
    from PIL import ImageOps

    return ImageOps.autocontrast(image)


def _equalize(image: Image, strength: float, sign: float) -> Image:
    from PIL import ImageOps

    return ImageOps.equalize(image)


OPERATIONS: dict[str, Callable[[Image, float, float], Image]] = {
    "identity": lambda image, strength, sign: image,
    "shear_x": _shear_x,
    "shear_y": _shear_y,
    "translate_x": _translate_x,
    "translate_y": _translate_y,
    "rotate": _rotate,
    "brightness": _enhance("Brightness"),
    "colour": _enhance("Color"),
    "contrast": _enhance("Contrast"),
    "sharpness": _enhance("Sharpness"),
    "posterize": _posterize,
    "solarize": _solarize,
    "auto_contrast": _auto_contrast,
    "equalize": _equalize,
}
"""(an RGB image, strength from 0 to 1, -1 or 1: the direction where there is one) -> an RGB image as large."""
