"""The transform that timm publishes with a model's configuration (`pretrained_cfg`), called as the image processors of
transformers are: there is no file of it, and transformers' wrapper around it cannot leave the normalisation out."""

from __future__ import annotations

import json
from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import TYPE_CHECKING, Any

import numpy as np

if TYPE_CHECKING:
    from PIL.Image import Image


class TimmProcessor:
    """Resizes, crops and normalises as timm does for evaluation.

    Args:
        published: `pretrained_cfg`: size, interpolation, share and kind of the crop, mean and deviation; what it lacks
            is timm's default.
    """

    backend = "pil"

    def __init__(self, published: Mapping[str, Any]):
        from timm.data import create_transform, resolve_data_config
        from timm.data.transforms import str_to_pil_interp

        self._options: dict[str, Any] = resolve_data_config(pretrained_cfg={**published})
        *self._geometry, self._to_values, self._normalize = create_transform(**self._options).transforms
        self.resample = int(str_to_pil_interp(self._options["interpolation"]))

    def __call__(
        self, images: Sequence[Image], *, do_rescale: bool = True, do_normalize: bool = True, return_tensors: str = "np"
    ) -> dict[str, list[np.ndarray]]:
        """Pixel values, float32 (C, H, W) of each; bytes where neither is done."""
        return {"pixel_values": [self._made(image, as_bytes=not do_rescale) for image in images]}

    def _made(self, image: Image, as_bytes: bool) -> np.ndarray:
        for step in self._geometry:
            image = step(image)
        if as_bytes:
            return np.asarray(image).transpose(2, 0, 1)
        return self._normalize(self._to_values(image)).numpy()

    def to_json_string(self) -> str:
        """Everything that decides what it gives."""
        return json.dumps({"image_processor_type": "timm", **self._options}, sort_keys=True)

    def save_pretrained(self, folder: Path) -> None:
        """Writes nothing: the model's configuration holds it, where timm and transformers look for it."""
