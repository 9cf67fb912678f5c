"""What a model says before it is trained, of all rows once: kept, so that all runs of a comparison share it."""

from __future__ import annotations

import time
from collections.abc import Callable, Mapping
from dataclasses import dataclass, field

import numpy as np
import torch
from torch import nn

from tunewise.data.batches import pass_batches
from tunewise.data.inputs import Inputs, items_of
from tunewise.engine.kept import Context, Parts, Spent, kept_array
from tunewise.engine.prefix_key import digest_of, key_of
from tunewise.evaluate.predict import Outputs, predict_logits
from tunewise.models.blocks import named_tensors
from tunewise.models.cost import StepFlops, watch_flops
from tunewise.models.load import Net
from tunewise.models.memory import PassSize


@dataclass
class Untrained:
    """Outputs of a net that nothing was inserted into yet, in fp32.

    Args:
        context: None where nothing is to be kept.
        splits: the rows that it will be asked about, by split.

    Attributes:
        spent: on everything that was asked for so far.
        flops: what a batch cost in the last pass.
    """

    net: Net
    batch_size: int
    stop: Callable[[], None]
    size: PassSize
    context: Context | None
    splits: Mapping[str, Inputs] = field(default_factory=dict)
    spent: Spent = field(default_factory=Spent, init=False)
    flops: StepFlops = field(default_factory=StepFlops, init=False)

    def outputs(self, read: Inputs, wanted: Outputs) -> np.ndarray:
        """What `wanted`, a function of a module, makes of all rows: (n, C), fp32."""
        context = self.context
        if context is None:
            begun = time.perf_counter()
            array, flops = self._compute(read, wanted)
            self.spent += Spent(time.perf_counter() - begun, flops)
            return array
        what = f"{wanted.__module__}.{wanted.__qualname__}"
        weights = digest_of(sorted(named_tensors(self.net.model).items()))
        key = key_of(self.net, context.exact, weights, read, before_training=what, batch_size=self.batch_size)
        about = {"kind": "reference", "model": self.net.located.name, "data": context.data, "rows": len(read)}
        array, spent = kept_array(context, key, about, lambda: Parts.whole(*self._compute(read, wanted)))
        self.spent += spent
        return array

    def _compute(self, read: Inputs, wanted: Outputs) -> tuple[np.ndarray, float]:
        """The outputs, and their FLOPs."""
        counted: list[StepFlops] = []

        def outputs(model: nn.Module, batch: Mapping[str, torch.Tensor]) -> torch.Tensor:
            if counted:
                return wanted(model, batch)
            with watch_flops(model, self.net.map) as flops:
                counted.append(flops)
                return wanted(model, batch)

        array = predict_logits(self.net.model, read, self.batch_size, stop=self.stop, size=self.size, outputs=outputs)
        self.flops = counted[0] if counted else StepFlops()
        return array, self._pass_flops(read)

    def _pass_flops(self, read: Inputs) -> float:
        """FLOPs of a pass over all rows."""
        batches = pass_batches(read, self.batch_size, next(self.net.model.parameters()).device.type)
        return sum(self.flops.forward(*read.shape(rows), items_of(read, rows)) for rows in batches)
