"""How large a model is, told by the headers of its weight files: no weights are read."""

from __future__ import annotations

import math
from pathlib import Path

from tunewise.models.weights_files import check_weights

BYTES_OF_A_WEIGHT = 4  # in training and in what is handed over, whatever the file holds


def weights_bytes(path: Path) -> int:
    """What all weights of a model folder take as fp32."""
    tensors = [entry for header in check_weights(path).values() for entry in header.values()]
    return BYTES_OF_A_WEIGHT * sum(math.prod(entry["shape"]) for entry in tensors)
