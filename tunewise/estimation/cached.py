"""What training through the frozen-prefix cache would cost, from keeping the states of some rows."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass, replace

import numpy as np
import torch

from tunewise.data.batches import pass_batches
from tunewise.data.inputs import Inputs
from tunewise.data.labelled import LabelledTokens
from tunewise.data.ragged import Ragged
from tunewise.data.tokenise import Tokens
from tunewise.engine.kept import Spent
from tunewise.engine.prefix import FrozenPrefix
from tunewise.engine.stored_states import ROWS_AT_ONCE, StoredInputs
from tunewise.engine.stored_windows import StoredWindows, by_window
from tunewise.models.cost import StepFlops


class SomeStored:
    """Stored states of some rows, under the numbers that these have among all. `lengths` is of all."""

    def __init__(self, stored: StoredInputs, rows: np.ndarray, whole: Inputs):
        one_position = not np.array_equal(stored.lengths, whole.lengths[rows])
        self.lengths = np.ones_like(whole.lengths) if one_position else whole.lengths
        self._stored, self._places = stored, np.full(len(whole), -1, dtype=np.int64)
        self._places[rows] = np.arange(len(rows))

    def __len__(self) -> int:
        return len(self.lengths)

    def shape(self, rows: Sequence[int] | np.ndarray) -> tuple[int, int]:
        """See `Inputs`."""
        return len(rows), int(self.lengths[rows].max())

    def batch(self, rows: Sequence[int] | np.ndarray) -> dict[str, torch.Tensor]:
        """The arguments of the model's forward pass, with the stored states of these rows among them."""
        return self._stored.batch(self._places[rows])


@dataclass(frozen=True)
class Opened:
    """What the model reads; what making that took here, and would take for all rows. `bytes` of states that were not
    made here, and for how many of all states there is `room`, as a share: the others would be computed each time."""

    inputs: Inputs
    spent: Spent
    of_all: Spent
    bytes: int = 0
    room: float = 1.0


def open_some(prefix: FrozenPrefix, whole: Inputs, rows: np.ndarray) -> Opened:
    """Reads these rows through the cache; where they are most of all, all of them."""
    parts, windows = by_window(whole)
    if windows is not None:
        opened = open_some(prefix, parts, windows.of(rows))
        return replace(opened, inputs=StoredWindows(opened.inputs, windows))
    if 2 * len(rows) > len(whole) or not isinstance(whole, (Tokens, LabelledTokens)):
        inputs, spent = prefix.open(whole)
        return Opened(inputs, spent, spent)
    stored, spent = prefix.open(_some_tokens(whole, rows))
    if not isinstance(stored, StoredInputs):
        return Opened(whole, spent, spent)
    flops = _pass_flops(StepFlops(**stored.about["step_flops"]), whole, prefix.context.device)
    larger = flops / stored.about["flops"]
    of_all = replace(spent, seconds=spent.seconds * larger, flops=flops)
    here = int(np.prod(stored.about["shape"])) * getattr(torch, stored.about["dtype"]).itemsize
    room = prefix.context.store.room() / (here * larger)
    return Opened(SomeStored(stored, rows, whole), spent, of_all, int(here * (larger - 1)), min(1.0, room))


def _some_tokens(tokens: Tokens | LabelledTokens, rows: np.ndarray) -> Tokens | LabelledTokens:
    def some(ragged: Ragged | None) -> Ragged | None:
        return ragged and Ragged.of([ragged[row] for row in rows], ragged.flat.dtype)

    if isinstance(tokens, LabelledTokens):  # none of an encoder's: those are not kept
        return replace(tokens, ids=some(tokens.ids), learnt=some(tokens.learnt))
    return replace(tokens, ids=some(tokens.ids), kinds=some(tokens.kinds), words=some(tokens.words))


def _pass_flops(flops: StepFlops, inputs: Inputs, device: torch.device) -> float:
    """FLOPs of the one pass in which states are made."""
    batches = pass_batches(inputs, ROWS_AT_ONCE, device.type)
    return sum(flops.forward(len(rows), int(inputs.lengths[rows].max())) for rows in batches)
