"""A model's own image processor in two parts: geometry, whose bytes are kept, and what makes numbers of them.

Shape legend: N images, C channels, H height, W width.
"""

from __future__ import annotations

import json
from dataclasses import dataclass
from functools import cached_property
from typing import TYPE_CHECKING, Any

import numpy as np

from tunewise.errors import ModelError
from tunewise.models.from_files import told_as
from tunewise.models.located import LocatedModel
from tunewise.models.timm_processor import TimmProcessor

if TYPE_CHECKING:
    from PIL.Image import Image

FILE = "preprocessor_config.json"
LARGEST = 4096
"""Pixels of a side beyond which a processor's file is not believed."""
SIZE = 224
CHANNELS = 3
CLOSE = 1e-5

_COLOUR = (40, 120, 230)  # red, green and blue that cannot be taken for each other
_BILINEAR = 2


@dataclass(frozen=True, eq=False)
class Processor:
    """An image processor of transformers (its Pillow backend), or of timm.

    Attributes:
        whole: the processor, as it is handed over.
        scale_C, shift_C: float32 (C,): pixel values are bytes * scale + shift; None where the processor's values do not
            follow from bytes so, and `geometry` gives the values themselves.
    """

    whole: Any
    scale_C: np.ndarray | None
    shift_C: np.ndarray | None

    def geometry(self, image: Image) -> np.ndarray:
        """An RGB image resized and cropped: uint8 (C, H, W), or float32 where there is no scale."""
        if self.scale_C is None:
            return _values(self.whole, image)
        return _bytes(self.whole, image)

    @cached_property
    def shape(self) -> tuple[int, ...]:
        """(C, H, W) of every image."""
        return self.geometry(_blank(0)).shape

    @cached_property
    def order(self) -> tuple[int, ...] | None:
        """Where red, green and blue stand in what `geometry` gives; None where that is not bytes of these."""
        from PIL import Image

        made = self.geometry(Image.new("RGB", (64, 64), _COLOUR))
        middle = made[:, made.shape[1] // 2, made.shape[2] // 2].tolist()
        if self.scale_C is None or sorted(middle) != sorted(_COLOUR):
            return None
        return tuple(middle.index(value) for value in _COLOUR)

    @property
    def resample(self) -> int:
        """The filter that it resizes with, by Pillow's number; bilinear where it does not say."""
        found = getattr(self.whole, "resample", None)
        return _BILINEAR if found is None else int(found)

    def as_dict(self) -> dict[str, Any]:
        """Everything that decides what it gives, as plain data."""
        return json.loads(self.whole.to_json_string())


def load_processor(located: LocatedModel, config: Any) -> tuple[Processor, list[str]]:
    """The image processor of a model folder, and lines for the log: which one is taken where the folder has none.

    Raises:
        ModelError: it cannot be loaded, makes images too large, of several sizes, or of other channels than the model
            reads.
    """
    from transformers import AutoImageProcessor
    from transformers.image_processing_utils import BaseImageProcessor

    channels = getattr(config, "num_channels", CHANNELS)
    if channels != CHANNELS:
        raise ModelError(
            f"the model reads images of {channels} channels; images are read as RGB",
            where=str(located.path),
            fix="take a model for RGB images",
        )
    notes = []
    with told_as(lambda said: _unsound(said, located)):
        if published := getattr(config, "pretrained_cfg", None):
            _check_sizes(_sides_of_timm(published))
            whole = TimmProcessor(published)
        elif (located.path / FILE).is_file():
            _check_sizes(json.loads((located.path / FILE).read_text(encoding="utf-8")))
            whole = AutoImageProcessor.from_pretrained(
                located.path, local_files_only=True, trust_remote_code=False, backend="pil"
            )
            if not isinstance(whole, BaseImageProcessor):
                raise TypeError(f"it is a {type(whole).__name__}")
        else:
            whole, note = _usual(config)
            notes.append(note)
        if getattr(whole, "backend", "pil") != "pil":
            raise TypeError(f"{type(whole).__name__} works with torchvision alone")
        if hasattr(whole, "do_convert_rgb"):
            whole.do_convert_rgb = False  # they are RGB
        processor = _in_two_parts(whole)
        shapes = {processor.geometry(image).shape for image in (_blank(0), _noise(120, 75), _noise(40, 200))}
    if len(shapes) > 1:
        raise ModelError(
            "the image processor gives images of different sizes, which cannot stand in one batch",
            where=str(located.path / FILE),
            fix="set a size with height and width, or do_center_crop with a crop_size, in that file",
        )
    return processor, notes


def check_reads(model: Any, shape: tuple[int, ...], located: LocatedModel) -> None:
    """Raises where a model does not take images of the size that its processor makes.

    Raises:
        ModelError: names the size, and what the model says.
    """
    import torch

    from tunewise.models.modes import eval_mode

    try:
        with eval_mode(model), torch.inference_mode():
            model(pixel_values=torch.zeros(1, *shape))
    except (ValueError, RuntimeError) as problem:
        said = (str(problem).strip() or type(problem).__name__).splitlines()[0]
        raise ModelError(
            f"the model cannot read the images of {shape[2]}x{shape[1]} pixels that its processor makes: {said}",
            where=str(located.path / FILE),
            fix="set size (and crop_size) in that file to the image_size in config.json",
        ) from None


def _usual(config: Any) -> tuple[Any, str]:
    """Where a folder has no processor: the model's size, whole images without a crop, values from -1 to 1."""
    from transformers.models.vit.image_processing_pil_vit import ViTImageProcessorPil

    size = getattr(config, "image_size", SIZE)
    height, width = size if isinstance(size, (list, tuple)) else (size, size)
    _check_sizes({"height": height, "width": width})
    whole = ViTImageProcessorPil(size={"height": int(height), "width": int(width)})
    return whole, (
        f"the model folder has no {FILE}; images are resized to {width}x{height}, whole, and scaled to -1 ... 1 "
        "(mean 0.5, deviation 0.5): if the model was pretrained otherwise, put its file there"
    )


def _sides_of_timm(published: dict[str, Any]) -> dict[str, Any]:
    """Of the image before it is cropped."""
    _, height, width = published.get("input_size") or (CHANNELS, SIZE, SIZE)
    kept = published.get("crop_pct") or 1.0
    return {"height": height / kept, "width": width / kept}


def _check_sizes(stored: Any) -> None:
    """Raises where a file asks for images of absurd size."""
    for key, value in stored.items() if isinstance(stored, dict) else ():
        for side in value.values() if isinstance(value, dict) else [value]:
            if key in _SIDES and type(side) in (int, float) and not 1 <= side <= LARGEST:
                raise ValueError(f"{key} is {side:,}; sides of 1 to {LARGEST:,} pixels are made")


_SIDES = ("height", "width", "size", "crop_size", "pad_size")


def _in_two_parts(whole: Any) -> Processor:
    """Which values bytes become is read off images of one colour, and proven on one of many."""
    black, white = (_values(whole, _blank(value)).astype(np.float64) for value in (0, 255))
    middle = black.shape[1] // 2, black.shape[2] // 2
    shift_C = black[:, middle[0], middle[1]]
    scale_C = (white[:, middle[0], middle[1]] - shift_C) / 255
    scale_C, shift_C = scale_C.astype(np.float32), shift_C.astype(np.float32)
    image = _noise(131, 97)
    found = _bytes(whole, image)
    if found.dtype == np.uint8 and found.shape == black.shape:
        made = found * scale_C[:, None, None] + shift_C[:, None, None]
        if np.abs(made - _values(whole, image)).max() <= CLOSE:
            return Processor(whole, scale_C, shift_C)
    return Processor(whole, None, None)


def _values(whole: Any, image: Image) -> np.ndarray:
    """What transformers gives for an image, float32 (C, H, W)."""
    return np.asarray(whole([image], return_tensors="np")["pixel_values"][0], dtype=np.float32)


def _bytes(whole: Any, image: Image) -> np.ndarray:
    more = {"include_top": False} if hasattr(whole, "include_top") else {}  # EfficientNet's second normalisation
    found = whole([image], do_rescale=False, do_normalize=False, return_tensors="np", **more)["pixel_values"][0]
    return np.asarray(found)


def _blank(value: int) -> Image:
    from PIL import Image

    return Image.new("RGB", (64, 64), (value, value, value))


def _noise(width: int, height: int) -> Image:
    from PIL import Image

    pixels = np.random.default_rng(0).integers(0, 256, (height, width, CHANNELS), dtype=np.uint8)
    return Image.fromarray(pixels)


def _unsound(said: str, located: LocatedModel) -> ModelError:
    return ModelError(
        f"the image processor cannot be loaded: {said}",
        where=str(located.path / FILE),
        fix="take the file that was published with the model; timm's own need the model in transformers' format",
    )
