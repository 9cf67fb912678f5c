"""Stored states of rows that are read in windows: what is kept is kept of each window, as of any text."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from functools import cached_property
from typing import TYPE_CHECKING

import numpy as np

from tunewise.data.inputs import Inputs
from tunewise.data.tokenise import Tokens
from tunewise.data.windows import Windows
from tunewise.engine.stored_states import StoredInputs

if TYPE_CHECKING:
    import torch


def by_window(inputs: Inputs) -> tuple[Inputs, Windows | None]:
    """The inputs with a row for each window, and which of these are of which row; None where every row is one."""
    if isinstance(inputs, Tokens) and inputs.windows is not None:
        return inputs.each_window, inputs.windows
    return inputs, None


@dataclass(frozen=True, eq=False)
class StoredWindows:
    """Rows of which `parts` holds the windows, with their states."""

    parts: Inputs
    windows: Windows

    def __len__(self) -> int:
        return len(self.windows)

    @cached_property
    def lengths(self) -> np.ndarray:
        """Tokens that the model reads of each row: one for each window where one position is kept."""
        return self.windows.sums(self.parts.lengths)

    def shape(self, rows: Sequence[int] | np.ndarray) -> tuple[int, int]:
        """See `Inputs`."""
        return self.parts.shape(self.windows.of(np.asarray(rows)))

    def batch(self, rows: Sequence[int] | np.ndarray) -> dict[str, torch.Tensor]:
        """The arguments of the model's forward pass, with `prefix_states` and `window_places` among them."""
        return self.windows.batch(self.parts, np.asarray(rows))

    def missing_flops(self, rows: np.ndarray) -> float:
        """Forward FLOPs of the windows of these rows that are not in the file."""
        return self.parts.missing_flops(self.windows.of(rows)) if isinstance(self.parts, StoredInputs) else 0.0
