"""Frozen weights held in the format that training computes in: half the memory, and no copies in every step.

Autocast rounds the weights of linear layers to bf16 (or fp16) each time they are used, and keeps the copies until the
backward pass. Rounded once, a weight that does not train gives the same bits. Whatever reads weights otherwise (norms,
embeddings, convolutions) keeps them in fp32; so does everything outside of training, for which the originals come back
bit for bit: from the model's folder, or, where rounding lost nothing, from the rounded ones.
"""

from __future__ import annotations

import time
from collections.abc import Callable, Collection, Iterator
from dataclasses import dataclass, field
from typing import Any

import numpy as np
import torch
from torch import nn
from torch.overrides import TorchFunctionMode
from transformers.pytorch_utils import Conv1D

from tunewise.data.inputs import Inputs
from tunewise.engine.device import DTYPES, Tuned
from tunewise.engine.kept import Spent
from tunewise.engine.prefix import undisturbed
from tunewise.errors import ModelError
from tunewise.models.batch_norm import statistics_kept
from tunewise.models.blocks import named_tensors
from tunewise.models.load import Net
from tunewise.models.original_weights import Original, OriginalWeights, bits_of
from tunewise.models.prefix import Batch, Wanted
from tunewise.models.wrapped import plain_model

ROUNDED_BY_AUTOCAST = (nn.Linear, Conv1D)
"""These very classes: what derives from one may read its weights in its own way."""
THAT_AUTOCAST_ROUNDS_FOR = (nn.functional.linear, torch.addmm)
ROWS_OF_A_PROOF = 4


class Readers(TorchFunctionMode):
    """Inside, finds out which parameters are read otherwise than as autocast rounds them, as DoRA reads the weights
    whose norm it takes. Outputs alone would not tell: they are rounded themselves.

    Attributes:
        otherwise: these parameters.
    """

    def __init__(self, dtype: torch.dtype):
        super().__init__()
        self._dtype, self.otherwise = dtype, set[nn.Parameter]()

    def __torch_function__(self, func: Any, types: Any, args: Any = (), kwargs: Any = None) -> Any:
        given = func(*args, **(kwargs or {}))
        plain = func in THAT_AUTOCAST_ROUNDS_FOR or not isinstance(given, torch.Tensor | list | float)
        if not plain and not (func is torch.Tensor.to and given.dtype == self._dtype):
            self.otherwise.update(each for each in _flat((args, kwargs or {})) if isinstance(each, nn.Parameter))
        return given


def _flat(given: Any) -> Iterator[Any]:
    if isinstance(given, (list, tuple)):
        for each in given:
            yield from _flat(each)
    elif isinstance(given, dict):
        yield from _flat(list(given.values()))
    else:
        yield given


@dataclass
class HeldWeights:
    """The frozen weights of a net in training; in fp32 nothing is done.

    Attributes:
        bytes: that are saved now.
    """

    net: Net
    tuned: Tuned
    bytes: int = field(default=0, init=False)
    _held: dict[nn.Parameter, Original | None] = field(default_factory=dict, init=False)

    def begin(self, trained: Collection[str], inputs: Inputs, outputs: Wanted) -> Spent:
        """Rounds what does not train. Where the model then gives other outputs for some rows of the run, all stays as
        it was, and the net's notes say so.

        Args:
            trained: names of all tensors that train or have trained.
            inputs: of the training.
            outputs: what training reads of the model for a batch.
        """
        self.end()
        if self.tuned.precision == "fp32":
            return Spent()
        begun, device = time.perf_counter(), torch.device(self.tuned.device)
        wanted = dict(self._candidates(trained))
        if not wanted:
            return Spent()
        rows = np.argsort(inputs.lengths, kind="stable")[:ROWS_OF_A_PROOF]
        batch = {key: value.to(device) for key, value in inputs.batch(rows).items()}
        with Readers(DTYPES[self.tuned.precision]) as readers:
            before = self._outputs(batch, outputs)
        wanted = {name: each for name, each in wanted.items() if each not in readers.otherwise}
        lost = self._round(wanted)
        if not torch.equal(before, self._outputs(batch, outputs)):
            self.end()
            self.net.note(
                f"frozen weights are not held in {self.tuned.precision}: with them a '{self.net.map.family}' model "
                "does not give the same bits"
            )
        elif lost:
            self.net.note(
                f"{lost} of {len(wanted)} frozen tensors are not held in {self.tuned.precision}: they are not those of "
                "the model's folder, from which they could be read again"
            )
        return Spent(time.perf_counter() - begun)

    def end(self) -> Spent:
        """The originals are back, bit for bit.

        Raises:
            ModelError: the model's folder has changed.
        """
        begun, dtype = time.perf_counter(), torch.float32
        while self._held:
            parameter, original = self._held.popitem()
            parameter.data = parameter.data.to(dtype) if original is None else original.read().to(parameter.device)
        self.bytes = 0
        return Spent(time.perf_counter() - begun)

    def _candidates(self, trained: Collection[str]) -> Iterator[tuple[str, nn.Parameter]]:
        """Frozen tensors of blocks and head that only layers of these classes hold."""
        embedding, plain, others = {tensor.name for tensor in self.net.map.embedding}, set(), set()
        for module in self.net.model.modules():
            kind = plain if type(module) in ROUNDED_BY_AUTOCAST else others
            kind.update(module.parameters(recurse=False))
        known = {tensor.name for tensor in self.net.map.tensors} - embedding - set(trained)
        for name, parameter in named_tensors(self.net.model).items():
            fits = parameter in plain and parameter not in others and parameter.dtype == torch.float32
            if name in known and fits and not parameter.requires_grad:
                yield name, parameter

    def _round(self, wanted: dict[str, nn.Parameter]) -> int:
        """Holds what can be had back, and returns how many cannot."""
        dtype, originals, lost = DTYPES[self.tuned.precision], None, 0
        for name, parameter in wanted.items():
            rounded, original = parameter.data.to(dtype), None
            if not torch.equal(bits_of(rounded.float()), bits_of(parameter.data)):
                originals = originals or self._originals()
                if (original := originals(name, parameter.data)) is None:
                    lost += 1
                    continue
            self.bytes += parameter.numel() * (parameter.element_size() - rounded.element_size())
            parameter.data, self._held[parameter] = rounded, original
        return lost

    def _originals(self) -> Callable[[str, torch.Tensor], Original | None]:
        prefix = getattr(plain_model(self.net.model), "base_model_prefix", "")
        try:
            return OriginalWeights(self.net.located.path, prefix).of
        except (ModelError, OSError):  # the folder is not there any more
            return lambda name, values: None

    def _outputs(self, batch: Batch, outputs: Wanted) -> torch.Tensor:
        """In the modes the model is in. Gradients need no proof: they pass through the same products."""
        with undisturbed(self.net.model), statistics_kept(self.net.model), torch.no_grad(), self.tuned.autocast():
            torch.manual_seed(0)
            return outputs(self.net.model, batch).float().nan_to_num()
