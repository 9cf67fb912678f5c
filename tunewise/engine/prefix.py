"""The frozen-prefix cache: what the blocks below the first trained one give is computed once, and then read.

It is used where it is proven, on rows of the run, that outputs and gradients stay the same bit for bit.
"""

from __future__ import annotations

import time
from collections.abc import Callable, Iterator
from contextlib import contextmanager, nullcontext
from functools import cached_property
from itertools import product
from pathlib import Path

import numpy as np
import torch

from tunewise.data.inputs import Inputs
from tunewise.engine.apply import prefix_modules
from tunewise.engine.checkpoint import random_state, set_random_state
from tunewise.engine.kept import Context, Spent
from tunewise.engine.prefix_key import digest_of, key_of, prefix_tensors
from tunewise.engine.stored_states import (
    ONE_POSITION,
    Kind,
    Pass,
    StoredInputs,
    batches_within,
    places,
    write_states,
)
from tunewise.engine.stored_windows import StoredWindows, by_window
from tunewise.errors import StoreError
from tunewise.models.cost import StepFlops, watch_flops
from tunewise.models.load import Net
from tunewise.models.memory import PassSize
from tunewise.models.modes import modes_kept
from tunewise.models.prefix import LABELS, STATES, Batch, Prefix, logits_of, narrowed, read_by_the_model, same_outputs
from tunewise.models.token_losses import token_log_probs

# Over one position the last matrices have other shapes, and so other rounding: the proof is in fp32, where it is small.
ONE_POSITION_TOLERANCE = 1e-5
ACCELERATOR_TOLERANCE = 1e-3  # atomic additions come in any order there


class FrozenPrefix:
    """The embedding and the first `depth` blocks of a net as it is now, in the modes it is in, proven on some rows.

    Attributes:
        kind: what is kept of a row; None where nothing can be, and then `refused` says why.
        whole_flops: of a forward pass without stored states, where there is a kind.
        spent: on the proof.
    """

    def __init__(self, net: Net, depth: int, context: Context, rows: Inputs):
        self.net, self.depth, self.context = net, depth, context
        self.kind: Kind | None = None
        self.whole_flops = StepFlops()
        self.spent = Spent()
        self.refused = _unfit(net)
        if self.refused is None:
            modules, begun = prefix_modules(net, depth), time.perf_counter()
            self._prefix = Prefix(net.model, modules[:-depth], modules[-depth:])
            rows, _ = by_window(rows)
            telling = _telling_rows(rows)
            with undisturbed(net.model), watch_flops(net.model, net.map) as flops:
                self._prove(self._on_device(rows.batch(telling)))
            shape = len(telling), int(rows.lengths[telling].max())
            self.spent = Spent(time.perf_counter() - begun, flops.forward(*shape) + flops.backward(*shape))

    def watch(self) -> Callable[[], None]:
        """Makes the model read opened inputs, until the function that is returned is called."""
        return self._prefix.watch() if self.kind else lambda: None

    @contextmanager
    def watched(self) -> Iterator[None]:
        """Inside, the model reads opened inputs."""
        close = self.watch()
        try:
            yield
        finally:
            close()

    def open(self, inputs: Inputs) -> tuple[Inputs, Spent]:
        """The inputs with their states, read from the store or put there; as they are where that is not possible."""
        parts, windows = by_window(inputs)
        if windows is None:
            return self._open(inputs)
        opened, spent = self._open(parts)
        return inputs if opened is parts else StoredWindows(opened, windows), spent

    def _open(self, inputs: Inputs) -> tuple[Inputs, Spent]:
        if self.kind is None:
            return inputs, Spent()
        begun, context = time.perf_counter(), self.context
        size = PassSize(tell=context.warn)
        run = Pass(self._prefix, self.net.map, self.kind, context.autocast, context.device, context.stop, size)
        batches = batches_within(inputs, run, self._bytes, context.store.room())
        kept = sum(len(rows) for rows in batches)
        if not kept:
            context.warn("the cache has no room for what the frozen part of the model gives: it is computed each time")
            return inputs, Spent()
        key = key_of(
            self.net, context, self._weights, inputs, labels=False, kind=self.kind, depth=self.depth, rows=kept
        )
        folder, made = context.find_or_make(key, lambda: self._fill(key, run, inputs, batches))
        try:
            stored = folder and StoredInputs(folder, inputs, run)
        except (OSError, StoreError):  # it had to make room in the moment since
            stored = None
        if stored is None:
            return inputs, Spent(time.perf_counter() - begun, run.done_flops)
        if kept < len(inputs):
            context.warn(f"the cache has room for {kept} of {len(inputs)} rows: the others are computed each time")
        return stored, Spent.on(stored.about, time.perf_counter() - begun, made)

    def _fill(self, key: str, run: Pass, inputs: Inputs, batches: list[np.ndarray]) -> Path | None:
        about = {
            "kind": "prefix",
            "what": self.kind,
            "model": self.net.located.name,
            "data": self.context.data,
            "depth": self.depth,
            "blocks": len(self.net.map.blocks),
            "precision": self.context.precision,
        }
        size = int(sum(run.vectors_of(inputs.lengths[rows]).sum() for rows in batches)) * self._bytes
        return self.context.store.put(
            key, lambda folder: write_states(folder, run, inputs, batches, about), about, size=size
        )

    @cached_property
    def _weights(self) -> str:
        return digest_of(prefix_tensors(self.net, self.depth))

    # ---- proof

    def _prove(self, whole: Batch) -> None:
        """Finds what has to be kept of a row, the least first; where nothing will do, says why."""
        batch = read_by_the_model(whole)
        labelled = LABELS in whole
        if problem := self._read_states(batch):
            self.refused = problem
            return
        kinds: tuple[Kind, ...] = ("tokens",) if self._in_tokens else ("whole",)
        if self._in_tokens and not labelled and self.depth == len(self.net.map.blocks) and "word_places" not in batch:
            kinds = (*ONE_POSITION, *kinds)
        family, precision = self.net.map.family, self.context.precision
        self.refused = f"with them a '{family}' model does not give the same bits in {precision}"
        for kind, self._prefix.skips_embedding in product(kinds, (True, False)):
            try:
                if not self._holds(kind, whole):
                    continue
            except (TypeError, ValueError, AttributeError, LookupError, RuntimeError) as problem:
                self.refused = f"a '{family}' model cannot go on from them ({_first_line(problem)})"
                continue
            self.kind, self.refused, self._bytes = kind, None, self._bytes_of(kind)
            with torch.no_grad(), watch_flops(self.net.model, self.net.map) as self.whole_flops:
                _log_probs(self.net.model, whole) if labelled else self.net.model(**batch)
            return

    def _read_states(self, batch: Batch) -> str | None:
        """Takes the states of a batch, and says what speaks against keeping them."""
        with torch.no_grad(), self.context.autocast():
            once = self._prefix.learn(batch)
            self._states = self._prefix.capture(batch)
        if not torch.equal(once, self._states):
            return "something random runs in the frozen part"
        shape = batch["input_ids"].shape if "input_ids" in batch else None
        self._in_tokens = shape is not None
        if shape is not None and (self._states.ndim != 3 or self._states.shape[:2] != shape):
            return f"the blocks of a '{self.net.map.family}' model do not give a vector for each token"
        return None

    def _holds(self, kind: Kind, batch: Batch) -> bool:
        """Whether the model goes on from what this kind keeps as from all of it."""
        tolerance = 0.0 if self.context.device.type == "cpu" else ACCELERATOR_TOLERANCE
        autocast, states = self.context.autocast, self._states
        if kind in ONE_POSITION:
            place_B = places(kind, batch, getattr(self.net.model.config, "pad_token_id", None))
            with torch.no_grad():
                exact = self._prefix.capture(batch)
            exact = exact[torch.arange(len(exact)), place_B, None]
            autocast, tolerance = nullcontext, max(tolerance, ONE_POSITION_TOLERANCE)
            other = narrowed(batch, place_B) | {STATES: exact}
        else:
            if kind == "tokens":
                states = states * batch["attention_mask"].unsqueeze(-1).to(states.dtype)
            other = dict(batch) | {STATES: states}
        close = self._prefix.watch()
        try:
            wanted = _log_probs if LABELS in batch else logits_of
            return same_outputs(self.net.model, batch, other, autocast, tolerance, wanted)
        finally:
            close()

    def _bytes_of(self, kind: Kind) -> int:
        """Of what one vector (or image) takes in the file."""
        states = self._states[0, 0] if kind in ("tokens", *ONE_POSITION) else self._states[0]
        return states.numel() * states.element_size()

    def _on_device(self, batch: Batch) -> dict[str, torch.Tensor]:
        return {key: value.to(self.context.device) for key, value in batch.items()}


def _unfit(net: Net) -> str | None:
    if len(net.map.chains) > 1:
        return "of an encoder-decoder, later blocks read more than the states of the one before"
    return None


def _log_probs(model: torch.nn.Module, batch: Batch) -> torch.Tensor:
    """Of the tokens to learn, as training reads them: what stands at padding does not count."""
    return token_log_probs(model, batch, even=True).log_probs_N


def _telling_rows(inputs: Inputs) -> np.ndarray:
    """A few rows of different length, the longest and the shortest among them."""
    order = np.argsort(inputs.lengths, kind="stable")
    return order[np.unique(np.linspace(0, len(order) - 1, 4).round().astype(np.int64))]


@contextmanager
def undisturbed(model: torch.nn.Module) -> Iterator[None]:
    """Modes and random numbers are afterwards as they were."""
    random = random_state()
    with modes_kept(model):
        try:
            yield
        finally:
            set_random_state(random)


def _first_line(problem: BaseException) -> str:
    return (str(problem).strip() or type(problem).__name__).splitlines()[0]
