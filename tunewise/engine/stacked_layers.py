"""One model that computes for several: its frozen weights once, and beside them what each of the others trains.

The rows of all models stand one behind the other, those of the first in front. What is frozen reads them as one batch.
At a layer with LoRA, the updates of all models are one batched product; an output layer reads its own rows alone.

Shape legend: K models, B rows of one, r the rank.
"""

from __future__ import annotations

from collections.abc import Callable, Iterator, Sequence
from contextlib import contextmanager

import torch
from torch import nn

from tunewise.engine.dropout import Masks
from tunewise.models.blocks import named_tensors
from tunewise.models.load import Net

Forward = Callable[..., torch.Tensor]
ADAPTER = "default"


class StackedLayers:
    """The layers of the first net, for the rows of all.

    The nets after the first have its frozen tensors from now on; a net that goes on to change one takes copies first
    (`unshare`).

    Attributes:
        refused: why these nets cannot be computed as one; None where they can.
    """

    def __init__(self, nets: Sequence[Net], masks: Masks):
        self.nets, self.masks = tuple(nets), masks
        self._forwards: dict[nn.Module, Forward] = {}
        self.refused = self._differ() or self._find()
        if self.refused is None:
            self._share()

    @contextmanager
    def computing(self) -> Iterator[None]:
        """Inside, the first net's model reads the rows of all."""
        for module, forward in self._forwards.items():
            module.forward = forward
        try:
            with self.masks.drawing(len(self.nets)):
                yield
        finally:
            for module in self._forwards:
                del module.forward

    def _differ(self) -> str | None:
        """Why the nets have not the same base."""
        first, *others = (named_tensors(net.model) for net in self.nets)
        for other in others:
            if first.keys() != other.keys():
                return "their models have other tensors"
            for name, tensor in first.items():
                if tensor.requires_grad != other[name].requires_grad or tensor.shape != other[name].shape:
                    return f"'{name}' does not train alike"
                if not tensor.requires_grad and not _equal(tensor, other[name]):
                    return f"'{name}' is frozen, and not the same"
        if any(net.updates_batch_norm for net in self.nets):
            return "batch norms update their statistics"
        return None

    def _find(self) -> str | None:
        """Finds what computes for each net by itself, or why that cannot be told apart."""
        from peft.tuners.lora.layer import Linear
        from peft.utils.other import ModulesToSaveWrapper

        modules = [dict(net.model.named_modules()) for net in self.nets]
        trained = {name for name, tensor in self.nets[0].model.named_parameters() if tensor.requires_grad}
        for path, module in modules[0].items():
            own = {name for name in trained if name.startswith(f"{path}.")}
            each = [found[path] for found in modules]
            if type(module) is Linear and own == {f"{path}.lora_{part}.{ADAPTER}.weight" for part in "AB"}:
                if (forward := _updates(each)) is None:
                    return f"the updates of '{path}' are of different kinds"
                self._forwards[module] = forward
                trained -= own
            elif isinstance(module, ModulesToSaveWrapper) and own:
                self._forwards[module] = self._apart([type(one).forward.__get__(one) for one in each])
                trained -= own
        return (
            f"'{min(trained)}' trains, and is neither an update of a linear layer nor of the head" if trained else None
        )

    def _apart(self, forwards: Sequence[Forward]) -> Forward:
        """Every net's own module reads its own rows, and drops what it would by itself."""

        def forward(rows: torch.Tensor, *more: object, **named: object) -> torch.Tensor:
            state, found = self.masks.state, []
            for own, part in zip(forwards, rows.chunk(len(forwards)), strict=True):
                self.masks.state = state
                with self.masks.drawing():
                    found.append(own(part, *more, **named))
            return torch.cat(found)

        return forward

    def _share(self) -> None:
        """The frozen tensors of all nets are those of the first."""
        first = named_tensors(self.nets[0].model)
        for net in self.nets[1:]:
            for name, tensor in named_tensors(net.model).items():
                if not tensor.requires_grad:
                    tensor.data = first[name].data


def unshare(net: Net) -> None:
    """The net has its frozen tensors for itself again."""
    for tensor in named_tensors(net.model).values():
        if not tensor.requires_grad:
            tensor.data = tensor.data.clone(memory_format=torch.preserve_format)


def _equal(one: torch.Tensor, other: torch.Tensor) -> bool:
    same = one.data_ptr() == other.data_ptr() and one.stride() == other.stride()
    return one.dtype == other.dtype and (same or torch.equal(one, other))


def _updates(layers: Sequence[nn.Module]) -> Forward | None:
    """y = W x + s B A x, for each net with its own A and B; None where the layers have not the same rank and scale, or
    do more than that."""
    first = layers[0]
    ranks = {layer.lora_A[ADAPTER].weight.shape for layer in layers}
    scales = {layer.scaling[ADAPTER] for layer in layers}
    plain = all(layer.active_adapters == [ADAPTER] and not layer.merged and not layer.lora_variant for layer in layers)
    if len(ranks) > 1 or len(scales) > 1 or not plain:
        return None
    downs, ups = ([getattr(layer, side)[ADAPTER].weight for layer in layers] for side in ("lora_A", "lora_B"))
    dropout, scale = first.lora_dropout[ADAPTER], first.scaling[ADAPTER]

    def forward(rows: torch.Tensor) -> torch.Tensor:
        return updated(first.base_layer(rows), dropout(rows), torch.stack(downs), torch.stack(ups), scale)

    return forward


def updated(
    base: torch.Tensor, read: torch.Tensor, down_KrI: torch.Tensor, up_KOr: torch.Tensor, scale: float
) -> torch.Tensor:
    """What a frozen layer gives for the rows of all models, plus to each its own update of what the layer has `read`.
    Inside of autocast the update computes in the format of the layer's output."""
    count = len(down_KrI)
    rows = read.reshape(count, -1, read.shape[-1])
    if torch.is_autocast_enabled(base.device.type):
        rows, down_KrI, up_KOr = (each.to(base.dtype) for each in (rows, down_KrI, up_KOr))
    inner = torch.bmm(rows, down_KrI.transpose(1, 2))
    whole = torch.baddbmm(base.reshape(count, -1, base.shape[-1]), inner, up_KOr.transpose(1, 2), alpha=scale)
    return whole.reshape(base.shape)
