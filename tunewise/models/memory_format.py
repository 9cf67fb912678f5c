"""How the weights and maps of convolutions lie in memory: channel after channel, as torch has them unless told, or
pixel after pixel with its channels side by side (`torch.channels_last`), which many processors convolve faster.

Torch convolves in the order of the weights, whatever the order of the images, and what comes after keeps it.
"""

from __future__ import annotations

import torch
from torch import nn

from tunewise.types import IMAGE_GENERATION, DataBundle, ModelMap


def use_channels_last(model: nn.Module, model_map: ModelMap) -> None:
    """Puts the kernels of a convolutional net in this order. A model stays as it is that convolves its image once, into
    patches; and one with group norms, whose gradient fails in this order on a CPU (torch 2.13.0, where what it reads
    does not train)."""
    convolves = any(tensor.kind == "conv" for block in model_map.blocks for tensor in block.tensors)
    if convolves and not any(isinstance(module, nn.GroupNorm) for module in model.modules()):
        model.to(memory_format=torch.channels_last)


def use_channels_first(model: nn.Module) -> None:
    """Puts all tensors in the order that files have."""
    model.to(memory_format=torch.contiguous_format)


def has_channels_last(model: nn.Module) -> bool:
    """Whether `use_channels_last` changed a model."""
    return any(lies_channels_last(parameter) for parameter in model.parameters())


def lies_channels_last(tensor: torch.Tensor) -> bool:
    """False too where both orders are the same, as with a single channel or pixel."""
    return tensor.ndim == 4 and tensor.is_contiguous(memory_format=torch.channels_last) and not tensor.is_contiguous()


def as_in(tensor: torch.Tensor, example: torch.Tensor) -> torch.Tensor:
    """A copy of the tensor, on the device and in the order of the example, whose shape it has."""
    return torch.empty_like(example, dtype=tensor.dtype).copy_(tensor)


def reads_images(data: DataBundle) -> bool:
    """Whether a model that learns from the data reads images to tell something of them. Those that draw images have
    group norms."""
    return bool(data.schema.image) and data.schema.task != IMAGE_GENERATION
