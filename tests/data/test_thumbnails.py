"""Thumbnails: small, upright, and nothing but pixels."""

from __future__ import annotations

import base64
import io

import numpy as np
import pytest
from PIL import Image, ImageCms

from tunewise.data.picture import MOST_PIXELS, Picture, picture_of
from tunewise.data.thumbnails import START, Thumbnails, as_the_model_sees, data_uri, thumbnail_of

SECRET = b"51.5007 north, 0.1246 west"


def opened(uri: str) -> Image.Image:
    assert uri.startswith(START)
    return Image.open(io.BytesIO(base64.b64decode(uri.removeprefix(START))))


def photograph(kind: str) -> bytes:
    """Left half red, right half blue, as the sensor has it; lies on its side by EXIF, with a place and a comment."""
    pixels = np.zeros((300, 400, 3), dtype=np.uint8)
    pixels[:, :200, 0] = pixels[:, 200:, 2] = 250
    exif = Image.Exif()
    exif[0x0112] = 6
    exif[0x010E] = SECRET.decode()
    exif.get_ifd(0x8825)[29] = SECRET.decode()
    buffer = io.BytesIO()
    profile = ImageCms.ImageCmsProfile(ImageCms.createProfile("sRGB")).tobytes()
    more = {"comment": SECRET} if kind == "JPEG" else {}
    Image.fromarray(pixels).save(buffer, kind, exif=exif, icc_profile=profile, **more)
    return buffer.getvalue()


@pytest.mark.parametrize("kind", ["JPEG", "PNG", "WEBP"])
def test_upright_and_without_what_the_file_said(kind):
    content = photograph(kind)
    assert SECRET in content
    picture = picture_of("a", None, content, MOST_PIXELS)
    uri = thumbnail_of(picture)
    raw = base64.b64decode(uri.removeprefix(START))
    image = opened(uri)
    assert image.size == (72, 96) and len(raw) < 4_000
    assert SECRET not in raw and b"Exif" not in raw and b"ICC_PROFILE" not in raw
    assert not image.getexif() and set(image.info) <= {"jfif", "jfif_version", "jfif_unit", "jfif_density"}
    top, bottom = image.getpixel((36, 10)), image.getpixel((36, 86))  # turned to the right: what was left is above
    assert top[0] > 200 > 60 > top[2] and bottom[2] > 200 > 60 > bottom[0]


def test_small_images_stay_and_noise_stays_small():
    assert opened(data_uri(Image.new("RGB", (20, 10)))).size == (20, 10)
    noise = Image.fromarray(np.random.default_rng(0).integers(0, 256, (400, 400, 3), dtype=np.uint8))
    assert len(data_uri(noise)) < 12_000
    assert opened(data_uri(Image.new("RGB", (4000, 1)))).size == (96, 1)


def test_a_page_has_so_many_and_tells_of_the_others(tmp_path):
    pictures = [picture_of(f"{n}", None, photograph("JPEG") + bytes(n), MOST_PIXELS) for n in range(3)]
    (tmp_path / "a.png").write_bytes(b"other")
    changed = Picture("0" * 64, "changed.png", tmp_path / "a.png")
    found = Thumbnails(2)
    assert [found.key(one) for one in (pictures[0], changed, pictures[0], pictures[1], pictures[2], pictures[2])] == [
        *(pictures[0], None, pictures[0], pictures[1], None, None)
    ]
    told = found.as_dict()
    assert list(told["made"]) == pictures[:2] and told["gone"] == ["changed.png"] and told["beyond"] == 1


def test_what_a_processor_made_is_shown_as_it_is():
    stored = np.zeros((3, 40, 40), dtype=np.uint8)
    stored[1] = 200
    image = opened(as_the_model_sees(stored))
    assert image.size == (40, 40) and abs(image.getpixel((20, 20))[1] - 200) < 8
    values = np.where(np.arange(40) < 20, -2.0, 3.0).astype(np.float32) * np.ones((3, 40, 1), dtype=np.float32)
    image = opened(as_the_model_sees(values))
    assert max(image.getpixel((2, 20))) < 12 and min(image.getpixel((37, 20))) > 243
