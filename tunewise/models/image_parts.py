"""The parts of a model for images in the order in which they run: embedding, blocks and head.

The order is that of one forward pass, whatever the order in which the model registers its modules.
"""

from __future__ import annotations

from collections.abc import Iterator
from dataclasses import dataclass, field
from typing import Any

import torch
from torch import nn
from torch.nn.modules.batchnorm import _BatchNorm
from torch.nn.modules.conv import _ConvNd

from tunewise.errors import ModelError
from tunewise.models.modes import eval_mode

STAGE_LISTS = ("layers", "blocks", "stage")
"""What transformers and timm call the list of layers in a stage."""
SMALLEST = 64  # pixels, where the configuration does not say how large images are


@dataclass(frozen=True)
class Part:
    """A module that runs as a whole: its path, and the width of what it gives (channels of an image, numbers of a
    vector)."""

    path: str
    module: nn.Module
    width: int


@dataclass(frozen=True)
class ImageParts:
    """`chain` is the path of the module that holds all blocks, `maps` those of linear layers that read whole images (4
    axes, the last being the width); `embedding` and `head` are parts too."""

    chain: str
    maps: frozenset[str]
    embedding: tuple[Part, ...]
    blocks: tuple[Part, ...]
    head: tuple[Part, ...]


@dataclass
class _Trace:
    """When each module was first called, and what it gave then."""

    order: dict[str, int] = field(default_factory=dict)
    shapes: dict[str, tuple[int, ...]] = field(default_factory=dict)
    maps: set[str] = field(default_factory=set)


def image_parts(model: nn.Module) -> ImageParts:
    """Takes a model for images apart, by its modules and one forward pass over one image without gradients.

    The parts are what stands in the largest list of modules, and beside it. Lists and `nn.Sequential` are taken apart,
    and stages: modules that hold a list of layers, and perhaps one that halves the image. In a model of timm the parts
    are those of the network that timm made. The embedding is all up to the first convolution and the norm behind it (at
    least all that runs before the list). The head is the output layer and, where it is no batch norm, the norm before
    it. All between are blocks, so that a convolution between the list and the output layer is one too.

    Raises:
        ModelError: the model has no blocks, or cannot read an image of the size in its configuration.
    """
    trace = _traced(model)
    body = _body(model)
    parts = [
        Part(path, module, _width(module, trace.shapes.get(path, ())))
        for path, module in _apart(model, body)
        if path in trace.order and _holds_tensors(module)
    ]
    parts.sort(key=lambda part: trace.order[part.path])
    first, last = _first_block(parts, body), _first_of_head(parts, model)
    if first >= last:
        raise ModelError(
            f"no blocks were found between the first convolution and the output layer of a '{model.config.model_type}' "
            "model",
            fix="take a transformer for images, or a convolutional net made of stages",
        )
    blocks = tuple(parts[first:last])
    chain = _common_path([block.path for block in blocks])
    return ImageParts(chain, frozenset(trace.maps), tuple(parts[:first]), blocks, tuple(parts[last:]))


def image_shape(config: Any) -> tuple[int, int, int]:
    """(channels, height, width) of the images that a model was made for; 64 x 64 where its configuration says
    nothing."""
    if given := (getattr(config, "pretrained_cfg", None) or {}).get("input_size"):  # timm's
        return int(given[0]), int(given[1]), int(given[2])
    inner = getattr(config, "vision_config", config)
    size, channels = getattr(inner, "image_size", None) or SMALLEST, getattr(inner, "num_channels", None) or 3
    if isinstance(size, dict):
        size = (size.get("height", SMALLEST), size.get("width", SMALLEST))
    height, width = (size, size) if isinstance(size, int) else size
    return int(channels), int(height), int(width)


def _traced(model: nn.Module) -> _Trace:
    """One forward pass over one black image, in eval mode, with the modes and random numbers left as they were."""
    trace, handles = _Trace(), []

    def note(path: str) -> Any:
        def enter(*_: Any) -> None:
            trace.order.setdefault(path, len(trace.order))

        def leave(module: nn.Module, inputs: Any, output: Any) -> None:
            if isinstance(module, nn.Linear) and inputs and inputs[0].ndim == 4:
                trace.maps.add(path)
            hidden = output[0] if isinstance(output, (tuple, list)) and output else output
            if isinstance(hidden, torch.Tensor):
                trace.shapes.setdefault(path, tuple(hidden.shape))

        return enter, leave

    weight = next(model.parameters())
    pixels = torch.zeros(1, *image_shape(model.config), device=weight.device, dtype=weight.dtype)
    for path, module in model.named_modules():
        enter, leave = note(path)
        handles += [module.register_forward_pre_hook(enter), module.register_forward_hook(leave)]
    try:
        with eval_mode(model), torch.no_grad(), torch.random.fork_rng(devices=[]):
            model(pixel_values=pixels)
    except (RuntimeError, ValueError, TypeError, IndexError, AttributeError) as problem:
        said = (str(problem).strip() or type(problem).__name__).splitlines()[0]
        raise ModelError(
            f"the model cannot read an image of {pixels.shape[2]} x {pixels.shape[3]}: {said}",
            where=f"a '{model.config.model_type}' model",
            fix="check image_size in its config.json, or take another architecture",
        ) from None
    finally:
        for handle in handles:
            handle.remove()
    return trace


def _body(model: nn.Module) -> str:
    """The path of the list that holds most weights; of nested ones the outermost. Of timm, the network itself."""
    if isinstance(getattr(model, "timm_model", None), nn.Module):
        return "timm_model"
    sizes = {
        path: sum(tensor.numel() for tensor in module.parameters())
        for path, module in model.named_modules()
        if isinstance(module, nn.ModuleList)
    }
    if not sizes:
        raise ModelError(
            f"no repeated blocks were found in a '{model.config.model_type}' model",
            fix="take a transformer for images, or a convolutional net made of stages",
        )
    return max(sizes, key=lambda path: sizes[path])  # the first of equals, which is the outermost


def _apart(model: nn.Module, body: str) -> Iterator[tuple[str, nn.Module]]:
    """Every part with its path: those beside the way down to the body, and the body's own."""
    steps = body.split(".")
    for level, step in enumerate(steps):
        above = ".".join(steps[:level])
        for name, child in model.get_submodule(above).named_children():
            if name != step:
                yield from _listed(f"{above}.{name}".lstrip("."), child)
    for name, child in model.get_submodule(body).named_children():
        yield from _opened(f"{body}.{name}", child)


def _opened(path: str, module: nn.Module, stages: bool = True) -> Iterator[tuple[str, nn.Module]]:
    """The module, or what a list, a sequence or a stage holds. Layers of a stage are not stages themselves."""
    if isinstance(module, nn.ModuleList) or _in_turn(module):
        for name, child in module.named_children():
            yield from _opened(f"{path}.{name}", child, stages)
    elif stages and _is_stage(module):
        for name, child in module.named_children():
            if name in STAGE_LISTS:
                yield from _opened(f"{path}.{name}", child, stages=False)
            else:
                yield from _listed(f"{path}.{name}", child)
    else:
        yield path, module


def _listed(path: str, module: nn.Module) -> Iterator[tuple[str, nn.Module]]:
    """The module, or what a list holds, which does not run itself."""
    if not isinstance(module, nn.ModuleList):
        yield path, module
        return
    for name, child in module.named_children():
        yield from _listed(f"{path}.{name}", child)


def _in_turn(module: nn.Module) -> bool:
    """Whether all that it does is what it holds does in turn; some subclasses of `nn.Sequential` do more."""
    return isinstance(module, nn.Sequential) and type(module).forward is nn.Sequential.forward


def _is_stage(module: nn.Module) -> bool:
    """Whether it holds a list of layers, and no tensors itself."""
    lists = [child for name, child in module.named_children() if name in STAGE_LISTS]
    return any(isinstance(child, (nn.ModuleList, nn.Sequential)) for child in lists) and not any(
        True for _ in module.parameters(recurse=False)
    )


def _holds_tensors(module: nn.Module) -> bool:
    return next(module.parameters(), None) is not None


def _leaves(module: nn.Module) -> list[nn.Module]:
    """The modules inside that hold tensors themselves."""
    return [inner for inner in module.modules() if next(inner.parameters(recurse=False), None) is not None]


def _only_norms(module: nn.Module) -> bool:
    return all("norm" in type(leaf).__name__.lower() for leaf in _leaves(module))


def _first_block(parts: list[Part], body: str) -> int:
    """The place behind the embedding."""
    inside = [place for place, part in enumerate(parts) if part.path.startswith(f"{body}.")]
    convolutions = [
        place for place, part in enumerate(parts) if any(isinstance(leaf, _ConvNd) for leaf in _leaves(part.module))
    ]
    first = max(inside[0] if inside else 0, min(convolutions, default=-1) + 1)
    while first < len(parts) and _only_norms(parts[first].module):
        first += 1
    return first


def _first_of_head(parts: list[Part], model: nn.Module) -> int:
    """The place of the output layer, or of the norm before it; batch norm belongs to the convolution before it."""
    labels, place = model.config.num_labels, len(parts)
    while place > 0:
        leaves = _leaves(parts[place - 1].module)
        norm = _only_norms(parts[place - 1].module) and not any(isinstance(leaf, _BatchNorm) for leaf in leaves)
        output = any(isinstance(leaf, nn.Linear) and leaf.out_features == labels for leaf in leaves)
        if not (norm or (output and place > len(parts) - 2)):
            break
        place -= 1
    return place


def _width(module: nn.Module, shape: tuple[int, ...]) -> int:
    """The width of what a module gave."""
    if len(shape) != 4:
        return shape[-1] if shape else 0
    return shape[channel_axis(module, shape)]


def channel_axis(module: nn.Module, shape: tuple[int, ...]) -> int:
    """1 or 3: the axis of channels in a map of this shape (4 axes) that a module gave, which is the outer axis as wide
    as a tensor of the module; of both or none, the first."""
    sizes = {size for tensor in module.parameters() for size in tensor.shape[:1]}
    return 3 if shape[3] in sizes and shape[1] not in sizes else 1


def _common_path(paths: list[str]) -> str:
    """The path of the innermost module that holds all of them."""
    split = [path.split(".")[:-1] for path in paths]
    common = []
    for names in zip(*split, strict=False):
        if len(set(names)) > 1:
            break
        common.append(names[0])
    return ".".join(common)
