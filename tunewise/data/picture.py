"""An image of a data set: the name of its content, where it lies, and how it becomes RGB."""

from __future__ import annotations

import hashlib
import io
import warnings
from dataclasses import dataclass
from functools import cache
from pathlib import Path
from typing import TYPE_CHECKING, Any

import numpy as np

if TYPE_CHECKING:
    from PIL.Image import Image

FORMATS = ("JPEG", "MPO", "PNG", "GIF", "BMP", "WEBP", "TIFF", "PPM", "JPEG2000", "AVIF")
"""What is read, by Pillow's names; it has formats beyond these that start other programs."""
ENDINGS = (
    *(".jpg", ".jpeg", ".jpe", ".jfif", ".png", ".gif", ".bmp", ".webp", ".tif", ".tiff"),
    *(".ppm", ".pgm", ".pbm", ".pnm", ".jp2", ".avif"),
)
"""Endings by which a folder is known to hold images; what a file is, its content says."""
MOST_PIXELS = 89_478_485
"""Width times height that are decoded at most: 268 MB as RGB; Pillow warns from there on."""
TINY = 16
"""Pixels; a side below this is told."""
LONG = 5.0
"""A longer side so many times the shorter one, or more, is told: a square cut out of it shows little."""

_SIXTEEN_BITS = 65_535


class BrokenImage(Exception):
    """Raised where bytes are no image that can be used: why, in a few words."""


@dataclass(frozen=True)
class Facts:
    """What an image was before it became RGB: size in pixels as it is to be seen, Pillow's mode, and what had to be
    done with it, in words."""

    width: int
    height: int
    mode: str
    converted: tuple[str, ...] = ()

    @property
    def tiny(self) -> bool:
        return min(self.width, self.height) < TINY

    @property
    def long(self) -> bool:
        return max(self.width, self.height) >= LONG * min(self.width, self.height)


class Picture(str):
    """An image as a row holds it: as a string, the sha256 of its bytes, so that equal images are equal rows wherever
    rows are compared, drawn or split.

    Attributes:
        shown: how its source names it.
        path: its file; None where `content` holds the bytes.
        facts: None where it was not decoded yet.
    """

    shown: str
    path: Path | None
    content: bytes | None
    facts: Facts | None

    def __new__(
        cls,
        digest: str,
        shown: str = "",
        path: Path | None = None,
        content: bytes | None = None,
        facts: Facts | None = None,
    ) -> Picture:
        picture = super().__new__(cls, digest)
        picture.shown, picture.path, picture.content, picture.facts = shown, path, content, facts
        return picture

    def __repr__(self) -> str:
        return repr(self.shown)

    def read(self) -> bytes:
        """Its bytes.

        Raises:
            BrokenImage: the file cannot be read, or is another by now.
        """
        content = read_bytes(self.path) if self.content is None else self.content
        if hashlib.sha256(content).hexdigest() != self:
            raise BrokenImage("the file has changed since the data was read")
        return content


def read_bytes(path: Path) -> bytes:
    """The content of a file.

    Raises:
        BrokenImage: there is no such file, it is none, or may not be read.
    """
    try:
        if not path.exists():
            raise BrokenImage("there is no such file")
        if not path.is_file():  # a pipe would be waited for
            raise BrokenImage("it is not a file")
        return path.read_bytes()
    except OSError as error:
        raise BrokenImage(f"it cannot be read: {error.strerror or error}") from None


def picture_of(shown: str, path: Path | None, content: bytes | None, most_pixels: int) -> Picture:
    """The picture in a file or in bytes, decoded once to see that it can be.

    Raises:
        BrokenImage: it cannot.
    """
    raw = read_bytes(path) if content is None else content
    _, facts = decode(raw, most_pixels)
    return Picture(hashlib.sha256(raw).hexdigest(), shown, path, None if path else raw, facts)


def decode(
    content: bytes, most_pixels: int = MOST_PIXELS, enough: tuple[int, int] | None = None
) -> tuple[Image, Facts]:
    """The image in RGB of 8 bits: turned as its EXIF data says, transparent parts over white, 16 bits scaled to 8, of
    several frames the first.

    Args:
        enough: a width and height; a JPEG of 2, 4 or 8 times as many pixels on both sides is decoded to so many fewer,
            which is quicker.

    Raises:
        BrokenImage: no image, cut off, or more than so many pixels, of which none is decoded then.
    """
    from PIL import Image, UnidentifiedImageError

    if not content:
        raise BrokenImage("it is empty (0 bytes)")
    try:
        with Image.open(io.BytesIO(content), formats=_known_formats()) as image:
            width, height = image.size
            if not width * height:
                raise BrokenImage("it has no pixels")
            if width * height > most_pixels:
                raise BrokenImage(
                    f"{width:,} x {height:,} pixels are more than data.max_pixels ({most_pixels:,}): not decoded"
                )
            if enough is not None:
                image.draft(None, enough)
            return _in_rgb(image)
    except UnidentifiedImageError:
        raise BrokenImage("it is no image of a known format") from None
    except Image.DecompressionBombError:
        raise BrokenImage("it has so many pixels that it is not decoded") from None
    # Of damaged files Pillow raises what its decoders do: OSError, SyntaxError, ValueError, struct.error, and others.
    except (OSError, SyntaxError, ValueError, ArithmeticError, LookupError, TypeError, EOFError, MemoryError) as error:
        raise BrokenImage(_why(error)) from None
    except Exception as error:
        if type(error).__module__ in ("struct", "zlib"):
            raise BrokenImage(_why(error)) from None
        raise


@cache
def _known_formats() -> tuple[str, ...]:
    """Those that this Pillow was built with."""
    from PIL import Image

    Image.init()
    warnings.simplefilter("ignore", Image.DecompressionBombWarning)  # it is refused, and told, as a broken image
    return tuple(name for name in FORMATS if name in Image.OPEN)


def is_image(content: bytes) -> bool:
    """Whether bytes begin as an image of a known format does; sound (which `datasets` saves in the same way) does
    not."""
    from PIL import Image

    try:
        with Image.open(io.BytesIO(content), formats=_known_formats()):
            return True
    except Exception:  # whatever Pillow raises of other bytes: they are no image
        return False


def _in_rgb(image: Any) -> tuple[Image, Facts]:
    from PIL import ImageOps

    mode, done = image.mode, []
    if getattr(image, "is_animated", False) and image.format != "MPO":  # a photograph with a small copy beside it
        done.append("several frames: the first")
    has_alpha = image.has_transparency_data
    image.load()
    turned = ImageOps.exif_transpose(image)
    if turned is not image and image.getexif().get(0x0112, 1) != 1:
        done.append("turned as EXIF says")
    if mode.startswith("I") or mode == "F":
        turned = _eight_bits(turned)
        done.append("more than 8 bits")
    if has_alpha:
        turned = _over_white(turned)
        done.append("transparent: over white")
    elif mode not in ("RGB", "L", "P", "1", "I", "F") and not mode.startswith("I;"):
        done.append(f"{mode} to RGB")
    elif mode in ("L", "1"):
        done.append("grey to RGB")
    rgb = turned.convert("RGB")
    return rgb, Facts(rgb.width, rgb.height, mode, tuple(done))


def _eight_bits(image: Any) -> Any:
    """Grey values of 16 bits in the 256 steps of 8.

    Raises:
        BrokenImage: values beyond that: which of them is white, the file does not say.
    """
    from PIL import Image

    values_HW = np.asarray(image)
    if values_HW.dtype.kind == "f" or values_HW.min() < 0 or values_HW.max() > _SIXTEEN_BITS:
        raise BrokenImage("its pixels are of 32 bits, and what is white is not said")
    return Image.fromarray(np.round(values_HW / 257).astype(np.uint8))


def _over_white(image: Any) -> Any:
    from PIL import Image

    rgba = image.convert("RGBA")
    return Image.alpha_composite(Image.new("RGBA", rgba.size, "white"), rgba)


def _why(error: BaseException) -> str:
    said = (str(error).strip().splitlines() or [type(error).__name__])[0].rstrip(".")
    return "it is cut off" if "truncated" in said.lower() else f"it cannot be decoded ({said})"


def shown_text(text: str) -> str:
    """A text of a row as people read it: of an image, how its source names it."""
    return text.shown if isinstance(text, Picture) else text
