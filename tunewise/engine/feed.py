"""What a run's model reads: its rows, or its rows with what the frozen part of the model gives for them.

Whether a phase of a training reads through the cache follows from the recipe, not from what the cache happens to hold,
so that the same recipe gives the same bits whether an entry is there or not.
"""

from __future__ import annotations

from collections.abc import Callable, Iterable, Iterator, Mapping
from contextlib import contextmanager
from dataclasses import dataclass, field

import numpy as np

from tunewise.data.inputs import Inputs, items_of
from tunewise.data.noise import NoisedPixels
from tunewise.data.packing import PackedTokens
from tunewise.data.pairs import PairTokens
from tunewise.data.pixels import Pixels
from tunewise.engine.apply import frozen_blocks
from tunewise.engine.drawn_rows import DrawnRows
from tunewise.engine.kept import Context, Spent
from tunewise.engine.prefix import FrozenPrefix, undisturbed
from tunewise.engine.stored_states import StoredInputs
from tunewise.engine.stored_windows import StoredWindows
from tunewise.models.cost import StepFlops
from tunewise.models.load import Net
from tunewise.types import ModelMap, Plan

READS = 1.5
"""How often a phase must read a row at least: making an entry takes as long as one pass without it, and some more for
writing."""


@dataclass
class Feed:
    """What a run's model reads of each split, phase by phase: the inputs themselves, or stored states with them.

    Args:
        context: None where nothing is to be kept.
        inputs: by split.
        open: reads a split through the store; an estimate puts another in its place.
        augmented: what the steps of a training read in the place of `train`; None where that are the rows as they are.
        mixup: alpha of the mixture of rows in a batch; 0 for none.
    """

    net: Net
    context: Context | None
    inputs: dict[str, Inputs]
    open: Callable[[FrozenPrefix, Inputs], tuple[Inputs, Spent]] = FrozenPrefix.open
    augmented: DrawnRows | None = None
    mixup: float = 0.0
    _stored: dict[str, Inputs] = field(default_factory=dict, init=False)
    _whole_flops: StepFlops = field(default_factory=StepFlops, init=False)
    _close: Callable[[], None] | None = field(default=None, init=False)

    def __getitem__(self, split: str) -> Inputs:
        return self._stored.get(split, self.inputs[split])

    def is_stored(self, split: str) -> bool:
        """Whether stored states are read with the rows."""
        return split in self._stored

    def missing_flops(self, split: str, rows: np.ndarray) -> float:
        """Forward FLOPs that reading these rows takes besides those of the model."""
        stored = self._stored.get(split)
        return stored.missing_flops(rows) if isinstance(stored, (StoredInputs, StoredWindows)) else 0.0

    def whole_flops(self, split: str, rows: np.ndarray) -> float | None:
        """Forward FLOPs that the model would take for a batch of these rows without stored states; None where there are
        none."""
        if not self.is_stored(split):
            return None
        inputs = self.inputs[split]
        return self._whole_flops.forward(*inputs.shape(rows), items_of(inputs, rows))

    def begin_phase(self, trained: Iterable[str], plan: Plan, reads: Mapping[str, float]) -> Spent:
        """From here on, what trains is this; `reads` says how often each split's rows will be read."""
        self.end_phase()
        before = self.augmented.begin() if self.augmented else Spent()
        splits = [split for split, times in reads.items() if times >= READS]
        depth = safe_depth(trained, self.net.map, plan)
        if self.context is None or not splits or not depth or self.net.prompt:
            return before
        if isinstance(self.inputs["train"], NoisedPixels):
            self.net.note(
                "the outputs of the frozen part are not kept: the timestep, which changes, enters every block"
            )
            return before
        if isinstance(self.inputs["train"], PairTokens):
            self.net.note(
                "the outputs of the frozen part are not kept, but computed each time: rows are two texts each"
            )
            return before
        if self.augmented is not None and "train" in splits:
            told, what = self.augmented.described, "images" if isinstance(self.inputs["train"], Pixels) else "texts"
            self.net.note(
                f"the outputs of the frozen part are not kept for training rows: {told} gives the model other {what}"
            )
            splits.remove("train")
            if not splits:
                return before
        if isinstance(self.inputs["train"], PackedTokens):
            self.net.note("the outputs of the frozen part are not kept: rows are packed anew for each batch")
            return before
        prefix = FrozenPrefix(self.net, depth, self.context, self.inputs["train"])
        if prefix.kind is None:
            self.net.note(f"the outputs of the frozen part are not kept, but computed each time: {prefix.refused}")
            return before + prefix.spent
        spent = before + prefix.spent
        for split in splits:
            self._stored[split], more = self.open(prefix, self.inputs[split])
            spent += more
        self._close, self._whole_flops = prefix.watch(), prefix.whole_flops
        return spent

    def end_phase(self) -> None:
        """The model computes everything itself again."""
        self._stored.clear()
        if self._close is not None:
            self._close()
        self._close = None


class Reader:
    """Gives the model the rows to predict for, with stored states where a part of it never trained: in fp32, as the
    model handed over computes.

    Args:
        trained: names of all tensors that have trained since the model was loaded.
        context: None where nothing is to be kept.

    Attributes:
        spent: on all splits so far.
    """

    def __init__(self, net: Net, plan: Plan, trained: Iterable[str], context: Context | None):
        self.net, self.context, self.spent = net, context and context.exact, Spent()
        self._depth = 0 if context is None or net.prompt else safe_depth(trained, net.map, plan)
        self._prefix: FrozenPrefix | None = None

    @contextmanager
    def reading(self, inputs: Inputs) -> Iterator[Inputs]:
        """Inside, the model reads what it yields in the place of these inputs."""
        if not self._depth or not len(inputs):
            yield inputs
            return
        if self._prefix is None:
            with undisturbed(self.net.model):
                self.net.model.eval()
                self._prefix = FrozenPrefix(self.net, self._depth, self.context, inputs)
            self.spent += self._prefix.spent
        fed, spent = self._prefix.open(inputs)
        self.spent += spent
        with self._prefix.watched():
            yield fed


def safe_depth(trained: Iterable[str], model_map: ModelMap, plan: Plan) -> int:
    """How many blocks no trained tensor can reach into: 0 where one stands beside the blocks, such as a ladder's."""
    trained = list(trained)
    depth = frozen_blocks(trained, model_map, plan)
    blocks = tuple(f"{block.path}." for block in model_map.blocks)
    beside = [name for name in trained if name.startswith(model_map.chains[-1].name + ".")]
    return depth if all(name.startswith(blocks) for name in beside) else 0
