"""What a frozen prefix gives for each row, in a file: made in one pass, read back batch by batch.

Rows are kept without padding, in the number format they come in, in the order of the pass, which goes by length alone:
whoever makes the file makes the same one. What is kept of a row is one of

    tokens   the states of all its tokens
    first    that of its first token, where the head reads no other
    last     that of its last token that is not padding, where the head reads no other
    whole    all the model gives for it, where a row is not made of tokens

Shape legend: N rows, B rows of a batch, T tokens, U kept vectors of all rows, D width, in bytes where it is a file's.
"""

from __future__ import annotations

import time
from collections.abc import Callable, Sequence
from contextlib import AbstractContextManager, nullcontext
from dataclasses import asdict, dataclass, field
from pathlib import Path
from typing import Any, Literal

import numpy as np
import torch

from tunewise.commit import read_manifest
from tunewise.commit.arrays import write_array
from tunewise.data.batches import pass_batches, sorted_batches
from tunewise.data.inputs import Inputs
from tunewise.models.cost import StepFlops, watch_flops
from tunewise.models.memory import PassSize
from tunewise.models.modes import eval_mode
from tunewise.models.prefix import STATES, Batch, Prefix, narrowed, read_by_the_model
from tunewise.types import ModelMap

Kind = Literal["tokens", "first", "last", "whole"]
ONE_POSITION = ("first", "last")
ROWS_AT_ONCE = 64
_STATES, _STARTS = "states.bin", "starts.npy"


@dataclass
class Pass:
    """A forward pass of the prefix over rows: in eval mode, without gradients.

    Args:
        stop: is called before each batch, and may raise.
        size: of batches that are known to fit into memory.

    Attributes:
        done_flops: of all batches so far.
        flops: what a batch costs; known after the first.
    """

    prefix: Prefix
    model_map: ModelMap
    kind: Kind
    autocast: Callable[[], AbstractContextManager[Any]]
    device: torch.device
    stop: Callable[[], None] = lambda: None
    size: PassSize = field(default_factory=PassSize)
    done_flops: float = field(default=0.0, init=False)
    flops: StepFlops | None = field(default=None, init=False)

    def states_of(self, inputs: Inputs, rows: np.ndarray) -> torch.Tensor:
        """Of these rows, unless a stop was asked for."""
        self.stop()
        return self.states(inputs.batch(rows))

    def states(self, batch: Batch) -> torch.Tensor:
        """(B, T, D) of texts; of a kind that keeps one position, (B, D)."""
        batch = {key: value.to(self.device) for key, value in read_by_the_model(batch).items()}
        model = self.prefix.model
        watch = nullcontext(self.flops) if self.flops else watch_flops(model, self.model_map)
        with eval_mode(model), torch.no_grad(), watch as flops, self.autocast():
            hidden = self.prefix.capture(batch)
        self.flops = flops
        self.done_flops += self.flops.forward(len(hidden), _width(batch))
        if self.kind in ONE_POSITION:
            hidden = hidden[torch.arange(len(hidden)), places(self.kind, batch, self.pad)]
        return hidden.cpu()

    @property
    def pad(self) -> int | None:
        return getattr(self.prefix.model.config, "pad_token_id", None)

    def vectors_of(self, lengths: np.ndarray) -> np.ndarray:
        """How many vectors are kept of rows of these lengths."""
        return lengths if self.kind == "tokens" else np.ones_like(lengths)


def places(kind: Kind, batch: Batch, pad: int | None) -> torch.Tensor:
    """The one position of each row (B,) that is kept. The last is told as transformers tells it: by the ids."""
    ids_BT = batch["input_ids"]
    if kind == "first":
        return torch.zeros(len(ids_BT), dtype=torch.int64, device=ids_BT.device)
    columns_T = torch.arange(ids_BT.shape[1], device=ids_BT.device)
    return (columns_T * (ids_BT != pad)).argmax(-1)


def batches_within(inputs: Inputs, run: Pass, bytes_each: int, room: int) -> list[np.ndarray]:
    """The batches of the pass; where not all rows fit, of the first of them, a whole number of tenths by size: what is
    kept should not depend on every byte of free disk."""
    batches = pass_batches(inputs, ROWS_AT_ONCE, run.device.type)
    sizes = np.cumsum(run.vectors_of(inputs.lengths[np.concatenate(batches)])) * bytes_each
    tenths = min(10, 10 * room // int(sizes[-1]))
    left, kept = int(np.searchsorted(10 * sizes, tenths * sizes[-1], side="right")), []
    for rows in batches:
        kept.append(rows[:left])
        left -= len(kept[-1])
    return [rows for rows in kept if len(rows)]


def write_states(folder: Path, run: Pass, inputs: Inputs, batches: Sequence[np.ndarray], about: dict[str, Any]) -> None:
    """Makes the files of an entry, and adds to `about` what they hold and what that took."""
    starts_N, vectors, forward_seconds = np.full(len(inputs), -1, dtype=np.int64), 0, 0.0
    begun = time.perf_counter()
    with (folder / _STATES).open("wb") as file:
        start = time.perf_counter()
        for rows, hidden in run.size.run(batches, inputs.lengths, lambda rows: run.states_of(inputs, rows)):
            forward_seconds += time.perf_counter() - start
            counts = run.vectors_of(inputs.lengths[rows])
            starts_N[rows] = vectors + np.cumsum(counts) - counts
            vectors += int(counts.sum())
            for place, count in enumerate(counts):
                file.write(_as_bytes(hidden[place, :count] if run.kind == "tokens" else hidden[place]).tobytes())
            start = time.perf_counter()
    write_array(folder / _STARTS, starts_N)
    shape = hidden.shape[2:] if run.kind == "tokens" else hidden.shape[1:]
    about |= {
        "dtype": str(hidden.dtype).removeprefix("torch."),
        "shape": [vectors, *shape],
        "rows": len(inputs),
        "kept_rows": int((starts_N >= 0).sum()),
        "step_flops": asdict(run.flops),
        "flops": run.done_flops,
        "forward_seconds": forward_seconds,
        "seconds": time.perf_counter() - begun,
    }


def _as_bytes(hidden: torch.Tensor) -> np.ndarray:
    return hidden.contiguous().view(torch.uint8).numpy()


def _width(batch: Batch) -> int:
    return batch["input_ids"].shape[1] if "input_ids" in batch else 1


class StoredInputs:
    """The rows of a split with what the prefix gave for them, mapped from the file; rows that are not there are
    computed when they are asked for.

    Attributes:
        lengths: tokens that the model reads of each row: 1 where one position is kept.
        about: what the maker of the entry says of it.
    """

    def __init__(self, folder: Path, inputs: Inputs, run: Pass):
        self.about = read_manifest(folder)["about"]
        self._dtype = getattr(torch, self.about["dtype"])
        vectors, *shape = self.about["shape"]
        shape[-1] *= self._dtype.itemsize
        self._starts = np.load(folder / _STARTS, allow_pickle=False)
        mapped = np.memmap(folder / _STATES, dtype=np.uint8, mode="c", shape=(vectors, *shape))
        self._flat = mapped.view(np.ndarray)
        self._inputs, self._run = inputs, run
        self._flops = StepFlops(**self.about["step_flops"])
        self.lengths = np.ones(len(inputs), dtype=np.int64) if run.kind in ONE_POSITION else inputs.lengths
        self._narrow = self._narrowed() if run.kind in ONE_POSITION else None

    def __len__(self) -> int:
        return len(self._inputs)

    def batch(self, rows: Sequence[int] | np.ndarray) -> dict[str, torch.Tensor]:
        """The arguments of the model's forward pass, with `prefix_states` among them."""
        rows = np.asarray(rows)
        if self._narrow is not None:
            batch = {key: values[rows] for key, values in self._narrow.items()}
            return batch | {STATES: self._single(rows).unsqueeze(1)}
        batch = self._inputs.batch(rows)
        return batch | {STATES: self._padded(rows, _width(batch)) if self._run.kind == "tokens" else self._single(rows)}

    def shape(self, rows: Sequence[int] | np.ndarray) -> tuple[int, int]:
        """See `Inputs`."""
        return len(rows), int(self.lengths[rows].max())

    def missing_flops(self, rows: np.ndarray) -> float:
        """Forward FLOPs of the rows among these that are not in the file."""
        missing = rows[self._starts[rows] < 0]
        return self._flops.forward(len(missing), int(self._inputs.lengths[missing].max())) if len(missing) else 0.0

    def _single(self, rows: np.ndarray) -> torch.Tensor:
        """What is one entry for each row, (B, D) or (B, ...)."""
        starts = self._starts[rows]
        if (starts >= 0).all():
            return torch.from_numpy(self._flat[starts]).view(self._dtype)
        computed = self._run.states(self._inputs.batch(rows[starts < 0]))
        states = torch.empty((len(rows), *computed.shape[1:]), dtype=self._dtype)
        states[torch.from_numpy(starts < 0)] = computed
        if (starts >= 0).any():
            kept = torch.from_numpy(self._flat[starts[starts >= 0]]).view(self._dtype)
            states[torch.from_numpy(starts >= 0)] = kept
        return states

    def _padded(self, rows: np.ndarray, width: int) -> torch.Tensor:
        """(B, T, D) with zeros where a row has no token."""
        starts, lengths = self._starts[rows], self._inputs.lengths[rows]
        states = torch.zeros((len(rows), width, self.about["shape"][-1]), dtype=self._dtype)
        raw = states.view(torch.uint8).numpy()
        for place in np.flatnonzero(starts >= 0):
            raw[place, : lengths[place]] = self._flat[starts[place] : starts[place] + lengths[place]]
        missing = np.flatnonzero(starts < 0)
        if len(missing):
            computed = self._run.states(self._inputs.batch(rows[missing]))
            for place, hidden in zip(missing, computed, strict=True):
                states[place, : lengths[place]] = hidden[: lengths[place]]
        return states

    def _narrowed(self) -> dict[str, torch.Tensor]:
        """The other arguments of all rows at the one position, (N, 1) each: made once, since all rows fit."""
        parts, order = [], sorted_batches(self._inputs.lengths, ROWS_AT_ONCE)
        for rows in order:
            batch = self._inputs.batch(rows)
            parts.append(narrowed(batch, places(self._run.kind, batch, self._run.pad)))
        back = np.argsort(np.concatenate(order))
        return {key: torch.cat([part[key] for part in parts])[back] for key in parts[0]}
