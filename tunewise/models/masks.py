"""Masks: which elements of a tensor train, as an array and as text in a plan."""

from __future__ import annotations

import math
from base64 import b64decode, b64encode

import numpy as np

from tunewise.types import Mask


def mask_of(name: str, trains: np.ndarray) -> Mask:
    """From an array of the tensor's shape, true where an element trains."""
    return Mask(name, b64encode(np.packbits(trains.astype(bool), axis=None).tobytes()).decode("ascii"))


def count_of(mask: Mask) -> int:
    """How many elements train."""
    return sum(byte.bit_count() for byte in b64decode(mask.bits))


def elements_of(mask: Mask, shape: tuple[int, ...]) -> np.ndarray:
    """Which elements of a tensor of that shape train, as bool.

    Raises:
        ValueError: the mask was made for a tensor of another size.
    """
    packed, size = np.frombuffer(b64decode(mask.bits), dtype=np.uint8), math.prod(shape)
    if len(packed) != -(-size // 8):
        raise ValueError(f"the mask of {mask.name} has {8 * len(packed)} marks, the tensor {size} elements")
    return np.unpackbits(packed, count=size).reshape(shape).astype(bool)
