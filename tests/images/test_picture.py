from __future__ import annotations

import io
import pickle
import time

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from image_files import claims, file_of, noise
from PIL import Image

from tunewise.data.picture import BrokenImage, Picture, decode, picture_of

TRANSPOSED = {
    2: Image.Transpose.FLIP_LEFT_RIGHT,
    3: Image.Transpose.ROTATE_180,
    4: Image.Transpose.FLIP_TOP_BOTTOM,
    5: Image.Transpose.TRANSPOSE,
    6: Image.Transpose.ROTATE_90,
    7: Image.Transpose.TRANSVERSE,
    8: Image.Transpose.ROTATE_270,
}
"""What was done to an upright image where a camera says so; turning it back gives the image."""


def pixels(content: bytes) -> np.ndarray:
    image, _ = decode(content)
    assert image.mode == "RGB"
    return np.asarray(image)


@pytest.mark.parametrize("orientation", TRANSPOSED)
def test_an_image_is_turned_as_its_exif_data_says(orientation):
    upright, exif = noise(), Image.Exif()
    exif[0x0112] = orientation
    content = file_of(upright.transpose(TRANSPOSED[orientation]), exif=exif)
    image, facts = decode(content)
    assert np.array_equal(np.asarray(image), np.asarray(upright))
    assert (facts.width, facts.height) == upright.size and facts.converted == ("turned as EXIF says",)


def test_transparent_parts_are_over_white():
    values = np.zeros((2, 3, 4), dtype=np.uint8)
    values[..., :3], values[..., 3] = 40, [[0, 51, 102], [153, 204, 255]]
    expected = np.round(255 + (40.0 - 255) * values[..., 3:] / 255).repeat(3, axis=2)
    assert np.abs(pixels(file_of(Image.fromarray(values))) - expected).max() <= 1
    grey = Image.fromarray(values[..., 2:])
    assert grey.mode == "LA" and np.abs(pixels(file_of(grey)) - expected).max() <= 1


def test_a_transparent_colour_of_a_palette_is_white():
    image = Image.new("P", (2, 1))
    image.putpalette([10, 20, 30, 200, 100, 50])
    image.putdata([0, 1])
    found = decode(file_of(image, transparency=1))
    assert np.asarray(found[0]).tolist() == [[[10, 20, 30], [255, 255, 255]]]
    assert found[1].converted == ("transparent: over white",)


def test_grey_of_16_bits_keeps_its_256_steps():
    values = np.array([[0, 257, 128 * 257, 65_535]], dtype=np.uint16)
    for kind in ("PNG", "TIFF"):
        image, facts = decode(file_of(Image.fromarray(values), kind))
        assert np.asarray(image)[0, :, 0].tolist() == [0, 1, 128, 255]
        assert facts.converted == ("more than 8 bits",)


def test_cmyk_and_grey_become_rgb():
    inks = np.zeros((8, 8, 4), dtype=np.uint8)
    inks[..., 1:3] = 255  # magenta and yellow are red
    image, facts = decode(file_of(Image.fromarray(inks, "CMYK"), "JPEG", quality=100))
    assert np.abs(np.asarray(image).astype(int) - [255, 0, 0]).max() <= 3 and facts.converted == ("CMYK to RGB",)
    grey = np.asarray(noise().convert("L"))
    image, facts = decode(file_of(Image.fromarray(grey)))
    assert (np.asarray(image) == grey[..., None]).all() and facts.converted == ("grey to RGB",)


def test_of_several_frames_the_first_is_read():
    frames = [Image.new("RGB", (4, 4), color) for color in ("red", "blue")]
    content = file_of(frames[0], "GIF", save_all=True, append_images=frames[1:])
    image, facts = decode(content)
    assert image.getpixel((0, 0)) == (255, 0, 0) and facts.converted == ("several frames: the first",)


@pytest.mark.parametrize(
    ("content", "why"),
    [
        (b"", "empty"),
        (b"<svg xmlns='http://www.w3.org/2000/svg' width='4' height='4'/>", "no image of a known format"),
        (b"%!PS-Adobe-3.0 EPSF-3.0\n%%BoundingBox: 0 0 9 9\n", "no image of a known format"),
        (file_of(noise(width=200, height=200), "JPEG")[:900], "cut off"),
        (file_of(noise(width=200, height=200))[:4000], "cut off"),
        (file_of(Image.fromarray(np.full((4, 4), 0.5, dtype=np.float32)), "TIFF"), "32 bits"),
    ],
    ids=["empty", "svg", "eps", "jpeg cut off", "png cut off", "float"],
)
def test_what_is_no_image_says_why(content, why):
    with pytest.raises(BrokenImage, match=why):
        decode(content)


@pytest.mark.parametrize("side", [9_500, 40_000])
def test_a_bomb_is_refused_before_it_is_decoded(side):
    content, begun = claims(side, side), time.perf_counter()
    assert len(content) < 200
    with pytest.raises(BrokenImage, match="pixels"):
        decode(content)
    assert time.perf_counter() - begun < 1
    with pytest.raises(BrokenImage, match=r"12 x 10 pixels are more than data.max_pixels \(100\)"):
        decode(file_of(noise(width=12, height=10)), 100)


@given(st.binary(max_size=200), st.integers(0, 3000), st.integers(0, 255))
@settings(max_examples=150, deadline=None)
def test_damaged_bytes_are_an_image_or_broken(start, place, value):
    for whole in (file_of(noise(), "JPEG"), file_of(noise()), file_of(noise(), "GIF")):
        damaged = bytearray(whole)
        damaged[place % len(whole)] ^= value
        for content in (start, bytes(damaged), bytes(damaged[: place % len(whole)])):
            try:
                image, _ = decode(content)
            except BrokenImage:
                continue
            assert image.mode == "RGB"


def test_a_picture_is_its_content(tmp_path):
    content = file_of(noise(1))
    for name in ("a.png", "b.jpg"):
        (tmp_path / name).write_bytes(content)
    first, second = (picture_of(name, tmp_path / name, None, 10_000) for name in ("a.png", "b.jpg"))
    other = picture_of("c", None, file_of(noise(2)), 10_000)
    assert first == second and len({first, second, other}) == 2
    assert (repr(first), first.shown, first.path) == ("'a.png'", "a.png", tmp_path / "a.png")
    again = pickle.loads(pickle.dumps(other))
    assert type(again) is Picture and again == other and again.read() == other.content and again.facts == other.facts
    (tmp_path / "a.png").write_bytes(file_of(noise(3)))
    with pytest.raises(BrokenImage, match="changed"):
        first.read()
    assert np.array_equal(np.asarray(Image.open(io.BytesIO(second.read()))), np.asarray(noise(1)))
