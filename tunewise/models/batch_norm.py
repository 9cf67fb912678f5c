"""Batch norm: which layers normalise by the batch and move their running statistics, and which keep those they have.

A layer moves its statistics only where that is asked for and the plan trains its weight or bias. All others, those of
the frozen part among them, normalise by the statistics of pretraining, in training as in prediction.
"""

from __future__ import annotations

from collections.abc import Collection, Iterator
from contextlib import contextmanager
from typing import Any

import torch
from torch import nn
from torch.nn.modules.batchnorm import _BatchNorm

from tunewise.models.blocks import original_name


def settle_batch_norms(model: nn.Module, trained: Collection[str], updated: bool) -> list[nn.Module]:
    """Puts all batch norms but those that are updated into eval mode, and returns the updated ones.

    Args:
        trained: original names of the tensors that the plan trains.
        updated: what `train.batch_norm` asks for.
    """
    chosen = []
    for path, module in _batch_norms(model):
        own = (original_name(f"{path}.{name}") for name, _ in module.named_parameters(recurse=False))
        if updated and module.training and any(name in trained for name in own):
            chosen.append(module)
            if not getattr(module, "spares_single_values", False):
                _spare_single_values(module)
        else:
            module.eval()
    return chosen


def running_statistics(model: nn.Module, trained: Collection[str]) -> dict[str, torch.Tensor]:
    """The buffers of batch norms of which a tensor is in `trained`, by their original names."""
    return {
        original_name(f"{path}.{name}"): buffer
        for path, module in _batch_norms(model)
        if any(original_name(f"{path}.{own}") in trained for own, _ in module.named_parameters(recurse=False))
        for name, buffer in module.named_buffers(recurse=False)
    }


def copied_statistics(model: nn.Module) -> dict[torch.Tensor, torch.Tensor]:
    """A copy of each buffer that a forward pass would move now, by the buffer."""
    return {
        buffer: buffer.clone()
        for _, module in _batch_norms(model)
        if module.training
        for buffer in module.buffers(recurse=False)
    }


def put_back(copies: dict[torch.Tensor, torch.Tensor]) -> None:
    with torch.no_grad():
        for buffer, value in copies.items():
            buffer.copy_(value)


@contextmanager
def statistics_kept(model: nn.Module) -> Iterator[None]:
    """Whatever forward passes run inside, running statistics are as before afterwards."""
    copies = copied_statistics(model)
    try:
        yield
    finally:
        put_back(copies)


def _batch_norms(model: nn.Module) -> Iterator[tuple[str, nn.Module]]:
    return (
        (path, module)
        for path, module in model.named_modules()
        if isinstance(module, _BatchNorm) and ".original_module" not in path
    )


def _spare_single_values(module: nn.Module) -> None:
    """One value per channel (a single row, of which a single pixel is left) has no variance: such a batch is normalised
    by the running statistics, where torch would stop."""

    def enter(norm: nn.Module, inputs: Any) -> None:
        norm.was_training = norm.training
        if norm.training and inputs[0].numel() == inputs[0].shape[1]:
            norm.training = False

    def leave(norm: nn.Module, inputs: Any, output: Any) -> None:
        norm.training = norm.was_training

    module.spares_single_values = True
    module.register_forward_pre_hook(enter)
    module.register_forward_hook(leave)
