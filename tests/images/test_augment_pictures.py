"""Crops, mirrors, colours, RandAugment and mixtures of images: by hand, by Pillow, by formula, and how often."""

from __future__ import annotations

import colorsys
import math
from importlib.util import find_spec
from itertools import product

import numpy as np
import pytest
from image_files import file_of, noise
from PIL import Image, ImageChops, ImageEnhance, ImageOps

from tunewise.data.augment_pictures import (
    changed_picture,
    coloured,
    crop_box,
    picture_generator,
    turned_hue,
)
from tunewise.data.augment_settings import AugmentConfig
from tunewise.data.mixed_pixels import MixedPixels, Mixture, cut_box, drawn_mixture, mixture_generator
from tunewise.data.picture import decode
from tunewise.data.picture_augment_settings import ColourConfig, RandAugmentConfig
from tunewise.data.pixels import Pixels
from tunewise.data.rand_augment import OPERATIONS, rand_augmented


class Given:
    """A generator that gives these numbers."""

    def __init__(self, uniform=(), integers=(), permutation=()):
        self._uniform, self._integers, self._permutation = iter(uniform), iter(integers), list(permutation)

    def uniform(self, low, high):
        value = next(self._uniform)
        assert low <= value <= high
        return value

    def integers(self, high):
        value = next(self._integers)
        assert 0 <= value < high
        return value

    def permutation(self, count):
        assert sorted(self._permutation) == list(range(count))
        return np.array(self._permutation)


def values(image: Image.Image) -> np.ndarray:
    return np.asarray(image).astype(int)


# ---- crops and mirrors


def test_a_crop_is_the_part_that_was_drawn():
    # A quarter of 40 x 20 is 200 pixels; at an aspect of 1.28 that is 16 across and 12.5 (12) down.
    assert crop_box(40, 20, 0.2, Given([0.25, math.log(1.28)], [24, 0])) == (24, 0, 40, 12)
    # all of it at 1:1 is 28 x 28, which does not fit; the next does: 14 x 14, at 5, 6
    assert crop_box(40, 20, 0.2, Given([1.0, 0.0, 0.25, 0.0], [5, 6])) == (5, 6, 19, 20)


@pytest.mark.parametrize(
    ("size", "box"),
    [((40, 20), (6, 0, 33, 20)), ((20, 40), (0, 6, 20, 33)), ((24, 20), (0, 0, 24, 20)), ((30, 30), (0, 0, 30, 30))],
)
def test_where_nothing_fits_the_crop_is_the_middle(size, box):
    assert crop_box(*size, 1.0, Given([1.0, math.log(0.8)] * 10)) == box


def test_crops_have_the_areas_and_aspects_that_were_asked_for():
    boxes = [crop_box(400, 400, 0.3, np.random.default_rng(row)) for row in range(3000)]
    across = np.array([box[2] - box[0] for box in boxes])
    down = np.array([box[3] - box[1] for box in boxes])
    left, upper = np.array([box[:2] for box in boxes]).T
    assert (left >= 0).all() and (upper >= 0).all() and (left + across <= 400).all() and (upper + down <= 400).all()
    shares, aspects = across * down / 160_000, np.log(across / down)
    assert shares.min() > 0.29 and np.abs(aspects).max() < math.log(4 / 3) + 0.02
    assert shares.mean() == pytest.approx(0.6, abs=0.02)  # a little below 0.65: large ones of long sides do not fit
    assert aspects.mean() == pytest.approx(0, abs=0.015)
    small = shares < 0.5  # those always fit: uniform
    assert shares[small].mean() == pytest.approx(0.4, abs=0.01)
    assert aspects[small].std() == pytest.approx(2 * math.log(4 / 3) / math.sqrt(12), abs=0.01)
    room = (400 - across)[small]
    assert (left[small] / room).mean() == pytest.approx(0.5, abs=0.02)


def test_images_are_mirrored_as_often_as_asked_and_only_left_to_right():
    image, config = noise(1, 6, 4), AugmentConfig(flip=0.3)
    mirrored = 0
    for row in range(1000):
        found = changed_picture(image, config, 0, 0, row)
        if found is not image:
            assert np.array_equal(values(found), values(image)[:, ::-1])
            mirrored += 1
    assert mirrored == pytest.approx(300, abs=45)


def test_what_becomes_of_an_image_follows_from_seed_epoch_and_row_and_each_option_draws_for_itself():
    image = noise(1, 20, 20)
    config = AugmentConfig(flip=0.5, colour=True, rand_augment=True)

    def made(*place: int, config: AugmentConfig = config) -> bytes:
        return changed_picture(image, config, *place).tobytes()

    assert made(0, 0, 5) == made(0, 0, 5)
    assert len({made(0, 0, 5), made(1, 0, 5), made(0, 1, 5), made(0, 0, 6)}) == 4
    mirrored = [row for row in range(40) if picture_generator(0, 0, row, "flip").random() < 0.5]
    for row in range(40):  # with colours too, the same rows are mirrored
        plain = made(0, 0, row, config=AugmentConfig(colour=True))
        turned = np.frombuffer(made(0, 0, row, config=AugmentConfig(flip=0.5, colour=True)), np.uint8)
        turned = turned.reshape(20, 20, 3)[:, ::-1] if row in mirrored else turned
        assert np.ascontiguousarray(turned).tobytes() == plain


# ---- colours


def test_colours_are_those_of_pillow_in_the_order_drawn():
    image, config = noise(3, 12, 9, bright=1), ColourConfig(brightness=0.4, contrast=0.4, saturation=0.4, hue=0.2)
    found = coloured(image, config, Given([0.3, -0.2, 0.1, 0.1], permutation=[2, 3, 0, 1]))
    wanted = turned_hue(ImageEnhance.Color(image).enhance(1.1), 25)
    wanted = ImageEnhance.Contrast(ImageEnhance.Brightness(wanted).enhance(1.3)).enhance(0.8)
    assert np.array_equal(values(found), values(wanted))
    only = ColourConfig(brightness=0.4, contrast=0, saturation=0)
    bright = coloured(image, only, Given([0.25, 0, 0, 0], permutation=[0, 1, 2, 3]))
    assert np.array_equal(values(bright), np.minimum(255, (values(image) * 1.25).astype(int)))
    assert coloured(image, only, Given([0.0, 0, 0, 0], permutation=[3, 2, 1, 0])) is image


@pytest.mark.parametrize("steps", [85, -85, 30])
def test_hues_are_turned(steps):
    image = Image.new("RGB", (4, 4), (200, 40, 40))
    found = values(turned_hue(image, steps))[0, 0]
    hue, saturation, value = colorsys.rgb_to_hsv(200 / 255, 40 / 255, 40 / 255)
    wanted = np.array(colorsys.hsv_to_rgb((hue + steps / 255) % 1, saturation, value)) * 255
    assert np.abs(found - wanted).max() < 5
    assert turned_hue(image, 0) is image


# ---- RandAugment

STRENGTH = 9 / 30


def shifted(image: Image.Image, across: int, down: int) -> np.ndarray:
    """What is at (x, y) is what was at (x + across, y + down); grey beyond."""
    wanted = np.full_like(values(image), 128)
    height, width, _ = wanted.shape
    for y in range(height):
        for x in range(width):
            if 0 <= x + across < width and 0 <= y + down < height:
                wanted[y, x] = values(image)[y + down, x + across]
    return wanted


def by_pillow(name: str, image: Image.Image, sign: float) -> np.ndarray:
    """The operation written out, at 9 of 30."""
    grey = {"fillcolor": (128, 128, 128), "resample": Image.Resampling.BILINEAR}
    affine = Image.Transform.AFFINE
    made = {
        "identity": lambda: image,
        "shear_x": lambda: image.transform(image.size, affine, (1, sign * 0.09, 0, 0, 1, 0), **grey),
        "shear_y": lambda: image.transform(image.size, affine, (1, 0, 0, sign * 0.09, 1, 0), **grey),
        "translate_x": lambda: shifted(image, int(sign * 5), 0),  # 0.3 x 150 / 331 of 40 is 5.4
        "translate_y": lambda: shifted(image, 0, int(sign * 4)),  # of 30 it is 4.07
        "rotate": lambda: image.rotate(sign * 9, **grey),
        "brightness": lambda: Image.blend(Image.new("RGB", image.size), image, 1 + sign * 0.27),
        "colour": lambda: Image.blend(image.convert("L").convert("RGB"), image, 1 + sign * 0.27),
        "contrast": lambda: ImageEnhance.Contrast(image).enhance(1 + sign * 0.27),
        "sharpness": lambda: ImageEnhance.Sharpness(image).enhance(1 + sign * 0.27),
        "posterize": lambda: values(image) & 0b11111110,  # 7 bits
        "solarize": lambda: np.where(values(image) < 178.5, values(image), 255 - values(image)),
        "auto_contrast": lambda: ImageOps.autocontrast(image),
        "equalize": lambda: ImageOps.equalize(image),
    }[name]()
    return made if isinstance(made, np.ndarray) else values(made)


@pytest.mark.parametrize("sign", [1.0, -1.0])
@pytest.mark.parametrize("name", OPERATIONS)
def test_an_operation_is_what_pillow_gives(name, sign):
    image = Image.effect_mandelbrot((40, 30), (-2, -1, 1, 1), 60).convert("RGB")
    image = ImageChops.add(image, noise(4, 40, 30, bright=0))
    found = OPERATIONS[name](image, STRENGTH, sign)
    assert np.array_equal(values(found), by_pillow(name, image, sign))
    assert (name == "identity") == np.array_equal(values(found), values(image))


@pytest.mark.slow
@pytest.mark.skipif(find_spec("torchvision") is None, reason="torchvision is not installed (the extra 'vision')")
def test_operations_are_those_of_torchvision():
    """With its filling and filter set to ours."""
    from torchvision.transforms import InterpolationMode, RandAugment
    from torchvision.transforms.autoaugment import _apply_op

    image = noise(4, 40, 30, bright=0)
    for name, magnitude in product(OPERATIONS, (1, 9, 15, 30)):
        theirs = {"colour": "Color", "auto_contrast": "AutoContrast"}.get(name, name.title().replace("_", ""))
        magnitudes, signed = RandAugment()._augmentation_space(31, (30, 40))[theirs]
        size = float(magnitudes[magnitude].item()) if magnitudes.ndim > 0 else 0.0
        back = name.startswith("translate")  # theirs say where a pixel goes
        for sign in (1.0, -1.0) if signed else (1.0,):
            wanted = values(_apply_op(image, theirs, sign * size, InterpolationMode.BILINEAR, [128.0] * 3))
            found = values(OPERATIONS[name](image, magnitude / 30, -sign if back else sign))
            assert np.abs(found - wanted).max() <= name.startswith("shear"), (
                name,
                magnitude,
                sign,
            )  # its angles are rounded


def test_operations_and_directions_are_drawn_evenly(monkeypatch):
    seen: list[tuple[str, float]] = []
    for name in OPERATIONS:
        monkeypatch.setitem(
            OPERATIONS, name, lambda image, strength, sign, name=name: seen.append((name, sign)) or image
        )
    image = noise(1, 4, 4)
    for row in range(2000):
        rand_augmented(image, RandAugmentConfig(operations=3), picture_generator(0, 0, row, "rand_augment"))
    assert len(seen) == 6000
    counts = [sum(name == each for each, _ in seen) for name in OPERATIONS]
    assert min(counts) > 6000 / 14 * 0.85 and max(counts) < 6000 / 14 * 1.15
    assert np.mean([sign for _, sign in seen]) == pytest.approx(0, abs=0.04)


# ---- mixtures


def pixels(count: int = 5, size: int = 8) -> Pixels:
    stored = np.random.default_rng(0).integers(0, 256, (count, 3, size, size + 2), dtype=np.uint8)
    return Pixels(stored, np.full(3, 1 / 255, np.float32), np.zeros(3, np.float32))


def test_mixed_pixels_are_the_formula_whatever_the_batch():
    plain, order_R = pixels(), np.array([2, 0, 1, 4, 3])
    whole = plain.batch(range(5))["pixel_values"].numpy()
    mixed = MixedPixels(plain, Mixture(order_R, 0.7))
    wanted = 0.7 * whole + 0.3 * whole[order_R]
    assert np.allclose(mixed.batch(range(5))["pixel_values"].numpy(), wanted, atol=1e-6)
    assert np.allclose(mixed.batch([4, 1])["pixel_values"].numpy(), wanted[[4, 1]], atol=1e-6)
    cut = MixedPixels(plain, Mixture(order_R, 0.85, (1, 2, 5, 5)))
    wanted = whole.copy()
    for row in range(5):
        for y in range(2, 5):
            for x in range(1, 5):
                wanted[row, :, y, x] = whole[order_R[row], :, y, x]
    assert np.array_equal(cut.batch([3, 0])["pixel_values"].numpy(), wanted[[3, 0]])
    same = MixedPixels(plain, Mixture(order_R, 1.0))
    assert np.array_equal(same.batch([3])["pixel_values"].numpy(), whole[[3]]) and not same.mixture.mixed_R.any()
    assert Mixture(np.array([0, 2, 1]), 0.5).mixed_R.tolist() == [False, True, True]


def test_rectangles_have_the_share_but_at_the_edges_and_the_label_has_the_rectangle():
    inside = 0
    for step in range(500):
        mixture = drawn_mixture(6, (30, 20), 0.0, 1.0, mixture_generator(0, step))
        left, upper, right, lower = mixture.box
        assert 0 <= left <= right <= 30 and 0 <= upper <= lower <= 20
        assert mixture.share == pytest.approx(1 - (right - left) * (lower - upper) / 600)
    for seed in range(500):
        left, upper, right, lower = cut_box(300, 200, 0.75, np.random.default_rng(seed))
        if left > 0 and upper > 0 and right < 300 and lower < 200:
            assert (right - left, lower - upper) == (150, 100)
            inside += 1
    assert inside == pytest.approx(125, abs=35)  # its centre is in the middle quarter


def test_shares_follow_beta_and_each_step_has_one_of_the_two():
    drawn = [drawn_mixture(4, (64, 64), 0.4, 0.0, mixture_generator(0, step)) for step in range(3000)]
    shares = [mixture.share for mixture in drawn]
    assert np.mean(shares) == pytest.approx(0.5, abs=0.03)
    assert np.var(shares) == pytest.approx(1 / (4 * (2 * 0.4 + 1)), abs=0.01)  # of Beta(a, a)
    both = [drawn_mixture(4, (64, 64), 0.4, 1.0, mixture_generator(0, step)) for step in range(1000)]
    assert sum(mixture.box is not None for mixture in both) == pytest.approx(500, abs=60)
    again = drawn_mixture(4, (64, 64), 0.4, 0.0, mixture_generator(0, 7))
    assert again.share == drawn[7].share and again.order_R.tolist() == drawn[7].order_R.tolist()
    assert drawn_mixture(4, (64, 64), 0.4, 0.0, mixture_generator(1, 7)).share != again.share


# ---- reading for crops


def test_a_jpeg_with_more_pixels_than_needed_is_decoded_to_fewer():
    large = file_of(noise(1, 800, 600), "JPEG")
    assert decode(large)[0].size == (800, 600)
    assert decode(large, enough=(150, 150))[0].size == (200, 150)
    assert decode(large, enough=(151, 151))[0].size == (400, 300)
    assert decode(large, enough=(400, 400))[0].size == (800, 600)
    png = file_of(noise(1, 80, 60))
    assert np.array_equal(values(decode(png, enough=(10, 10))[0]), values(noise(1, 80, 60)))
