"""Images that are damaged, or other than they seem."""

from __future__ import annotations

import json
from collections.abc import Callable
from typing import Any

import numpy as np
from case import Arguments, Case, Desk, error
from PIL import Image

from tests.images.image_files import claims, file_of, noise

CLASSES = ("ants", "bees")
WHOLE = "{folder}/photos"


def photos(**more: bytes) -> Callable[[Desk], Arguments]:
    """A recipe for a folder with six sound images of each class, and these among the ants, the underscore in a name
    being its dot."""

    def make(desk: Desk) -> Arguments:
        for label, name in enumerate(CLASSES):
            for number in range(6):
                desk.write(f"photos/{name}/{number}.png", file_of(noise(10 * label + number)))
        for name, content in more.items():
            desk.write(f"photos/ants/{name.replace('_', '.')}", content)
        return recipe(desk, train="photos")

    return make


def recipe(desk: Desk, **data: Any) -> Arguments:
    train = {"max_steps": 1, "batch_size": 8, "threads": 1, "precision": "fp32"}
    return desk.recipe(json.dumps({"model": str(desk.model), "data": data, "train": train}))


def table(path: str) -> Callable[[Desk], Arguments]:
    """A recipe for a CSV file that names sound images, and this path in its last row."""

    def make(desk: Desk) -> Arguments:
        photos()(desk)
        rows = [f"{name}/{number}.png,{name}" for name in CLASSES for number in range(6)]
        desk.write("photos/data.csv", "\n".join(["image,label", *rows, f"{path},ants"]))
        return recipe(desk, train="photos/data.csv", image="image", label="label")

    return make


def read(desk: Desk) -> dict[str, Any]:
    """The images that are used, by their names."""
    return {picture.shown: picture for split in desk.data().splits.values() for (picture,) in split.texts}


def left_out(name: str) -> Callable[[Desk], None]:
    def proof(desk: Desk) -> None:
        assert len(read(desk)) == 12 and name not in read(desk)

    return proof


def used(*facts: tuple[str, str, int, int]) -> Callable[[Desk], None]:
    """Images with mode, width and height."""

    def proof(desk: Desk) -> None:
        found = read(desk)
        assert len(found) == 12 + len(facts)
        for name, mode, width, height in facts:
            fact = found[name].facts
            assert (fact.mode, fact.width, fact.height) == (mode, width, height)

    return proof


def broken(row: int, told: str, source: str = WHOLE) -> str:
    return f"data: broken images: {source}: 1 of 13 images cannot be used: row {row}, {told}; left out"


def converted(told: str) -> str:
    return f"data: converted images: {WHOLE}: read as RGB of 8 bits: {told}"


def _turned() -> bytes:
    exif = Image.Exif()
    exif[0x0112] = 6
    return file_of(noise(90), "JPEG", exif=exif)


def _frames() -> bytes:
    frames = [Image.new("RGB", (20, 20), color) for color in ("red", "blue")]
    return file_of(frames[0], "GIF", save_all=True, append_images=frames[1:])


_INKS = file_of(Image.fromarray(np.zeros((20, 20, 4), dtype=np.uint8), "CMYK"), "JPEG")
_DEEP = file_of(Image.fromarray(np.arange(400, dtype=np.uint16).reshape(20, 20) * 100))
_GLASS = file_of(noise(91).convert("RGBA").point(lambda value: value // 2))
_SVG = b"<svg xmlns='http://www.w3.org/2000/svg' width='20' height='20'/>"

CASES = (
    Case(
        "truncated image",
        "a JPEG file whose end is missing",
        photos(x_jpg=file_of(noise(80, 200, 200), "JPEG")[:2000]),
        repair=broken(7, "ants/x.jpg: it is cut off"),
        proof=left_out("ants/x.jpg"),
    ),
    Case(
        "truncated image",
        "an empty file",
        photos(x_jpg=b""),
        repair=broken(7, "ants/x.jpg: it is empty (0 bytes)"),
        proof=left_out("ants/x.jpg"),
    ),
    Case(
        "wrong image extension",
        "a PNG file called .jpg",
        photos(x_jpg=file_of(noise(81))),
        read_as="what its content is: a PNG file",
        proof=used(("ants/x.jpg", "RGB", 24, 18)),
    ),
    Case(
        "wrong image extension",
        "a text called .png",
        photos(x_png=b"no image"),
        repair=broken(7, "ants/x.png: it is no image of a known format"),
        proof=left_out("ants/x.png"),
    ),
    Case(
        "decompression bomb",
        "a few bytes that claim 90 million pixels",
        photos(x_png=claims(9_500, 9_500)),
        repair=broken(7, "ants/x.png: 9,500 x 9,500 pixels are more than data.max_pixels (89,478,485): not decoded"),
        proof=left_out("ants/x.png"),
    ),
    Case(
        "CMYK, 16-bit or alpha",
        "one of each",
        photos(x_jpg=_INKS, y_png=_DEEP, z_png=_GLASS),
        repair=converted("1 CMYK to RGB; 1 more than 8 bits; 1 transparent: over white"),
        proof=used(("ants/x.jpg", "CMYK", 20, 20), ("ants/y.png", "I;16", 20, 20), ("ants/z.png", "RGBA", 24, 18)),
    ),
    Case(
        "EXIF rotation",
        "a photograph taken upright",
        photos(x_jpg=_turned()),
        repair=converted("1 turned as EXIF says"),
        proof=used(("ants/x.jpg", "RGB", 18, 24)),
    ),
    Case(
        "0x0 or 1x1 image",
        "0x0",
        photos(x_png=claims(0, 0)),
        repair=broken(7, "ants/x.png: it is no image of a known format"),
        proof=left_out("ants/x.png"),
    ),
    Case(
        "0x0 or 1x1 image",
        "1x1",
        photos(x_png=file_of(noise(82, 1, 1))),
        repair=f"data: odd images: {WHOLE}: 1 of 13 images have a side of less than 16 pixels: 'ants/x.png'. Kept as "
        "they are",
        proof=used(("ants/x.png", "RGB", 1, 1)),
    ),
    Case(
        "image path missing",
        "a row without its file",
        table("ants/none.png"),
        repair=broken(13, "ants/none.png: there is no such file", f"{WHOLE}/data.csv"),
        proof=left_out("ants/none.png"),
    ),
    Case(
        "image path missing",
        "a path out of the folder",
        table("../recipe.yaml"),
        told=error(
            "'../recipe.yaml' leads out of the folder of the data ({folder}/photos)",
            "{folder}/photos/data.csv, row 13, column 'image'",
            "give paths inside of it, or name the folder that all images are in as `image_folder` under data",
        ),
    ),
    Case(
        "SVG or GIF",
        "a GIF file of several frames",
        photos(x_gif=_frames()),
        repair=converted("1 several frames: the first"),
        proof=used(("ants/x.gif", "P", 20, 20)),
    ),
    Case(
        "SVG or GIF",
        "an SVG file called .png",
        photos(x_png=_SVG),
        repair=broken(7, "ants/x.png: it is no image of a known format"),
        proof=left_out("ants/x.png"),
    ),
)
