"""What in an image speaks for an output: Grad-CAM where the last block gives a map, occlusion elsewhere.

Shape legend: B images, C channels, H height, W width, K channels of a map, h and w its height and width.
"""

from __future__ import annotations

from collections.abc import Callable, Sequence
from typing import Any

import numpy as np
import torch
from torch import nn

from tunewise.models.image_parts import channel_axis
from tunewise.models.wrapped import hidden_of, with_hidden

CELLS = 8
"""Cells of a side of an occlusion map; a patch covers two by two of them."""
PATCH = 2

Logits = Callable[[torch.Tensor], torch.Tensor]
"""From pixel values (B, C, H, W) to the outputs of a model, with gradients."""


def map_layer(blocks: Sequence[nn.Module], logits: Logits, pixels_BCHW: torch.Tensor) -> nn.Module | None:
    """The last block that gives a feature map of more than one place; None where what comes last is no map.

    Args:
        blocks: of the model, in the order in which they run.
        pixels_BCHW: an image to try it on.
    """
    shapes: dict[nn.Module, tuple[int, ...]] = {}

    def note(module: nn.Module, _: Any, output: Any) -> None:
        shapes[module] = tuple(hidden_of(output).shape)

    handles = [block.register_forward_hook(note) for block in blocks]
    try:
        with torch.no_grad():
            logits(pixels_BCHW)
    finally:
        for handle in handles:
            handle.remove()
    for block in reversed(blocks):
        shape = shapes.get(block, ())
        if len(shape) != 4:
            return None
        channels = channel_axis(block, shape)
        if shape[2 if channels == 1 else 1] * shape[3 if channels == 1 else 2] > 1:
            return block
    return None


def grad_cam(block: nn.Module, logits: Logits, pixels_BCHW: torch.Tensor, outputs: Sequence[int]) -> np.ndarray | None:
    """Grad-CAM, float32 (B, h, w): channels of the block's map, each by the mean gradient of the output, summed; what
    is below zero becomes zero. None where the outputs do not follow from that map.

    Selvaraju et al. (2017), Grad-CAM: Visual Explanations from Deep Networks via Gradient-based Localization, eq. 1, 2.
    Gradients go back to the block's map and no further.

    Args:
        outputs: of each image, the place of the output among the model's, before softmax or sigmoid.
    """
    found: list[torch.Tensor] = []

    def cut(_: nn.Module, inputs: Any, output: Any) -> Any:
        map_ = hidden_of(output).detach().requires_grad_()
        found.append(map_)
        return with_hidden(output, map_.clone())  # what comes next may write into it

    handle = block.register_forward_hook(cut)
    try:
        with torch.enable_grad():
            said_BC = logits(pixels_BCHW)
            places = torch.as_tensor(outputs, device=said_BC.device)
            wanted = said_BC[torch.arange(len(places), device=said_BC.device), places].sum()
            (gradient,) = torch.autograd.grad(wanted, [found[0]], allow_unused=True)
    finally:
        handle.remove()
    if gradient is None:
        return None
    map_BKhw, gradient_BKhw = found[0].detach(), gradient
    if channel_axis(block, tuple(map_BKhw.shape)) == 3:
        map_BKhw, gradient_BKhw = (tensor.permute(0, 3, 1, 2) for tensor in (map_BKhw, gradient_BKhw))
    weight_BK11 = gradient_BKhw.mean(dim=(2, 3), keepdim=True)
    return torch.relu((weight_BK11 * map_BKhw).sum(dim=1)).float().cpu().numpy()


def occlusion(
    probability: Callable[[torch.Tensor], np.ndarray], pixels_CHW: torch.Tensor, grey_C: torch.Tensor, at_once: int
) -> np.ndarray:
    """Occlusion, float32 (h, w): by how much the probability falls where a grey patch covers a cell, the mean over the
    patches that cover it. A patch is a quarter as wide and high as the image, and moves by half of itself.

    Zeiler and Fergus (2014), Visualizing and Understanding Convolutional Networks, section 4.2.

    Args:
        probability: of the class that is looked at, of images (B, C, H, W): (B,).
        grey_C: the value of grey in each channel.
        at_once: images of a pass.
    """
    _, height, width = pixels_CHW.shape
    rows, columns = edges(height), edges(width)
    patches = [(y, x) for y in range(len(rows) - PATCH) for x in range(len(columns) - PATCH)]
    whole = float(probability(pixels_CHW[None])[0])
    drop_hw = np.zeros((len(rows) - 1, len(columns) - 1))
    covered_hw = np.zeros_like(drop_hw)
    for start in range(0, len(patches), at_once):
        part = patches[start : start + at_once]
        images_BCHW = pixels_CHW.repeat(len(part), 1, 1, 1)
        for image_CHW, (y, x) in zip(images_BCHW, part, strict=True):
            image_CHW[:, rows[y] : rows[y + PATCH], columns[x] : columns[x + PATCH]] = grey_C[:, None, None]
        for (y, x), left in zip(part, probability(images_BCHW), strict=True):
            drop_hw[y : y + PATCH, x : x + PATCH] += whole - float(left)
            covered_hw[y : y + PATCH, x : x + PATCH] += 1
    return (drop_hw / covered_hw).astype(np.float32)


def passes(height: int, width: int) -> int:
    """Forward passes that `occlusion` makes for an image."""
    return 1 + (len(edges(height)) - PATCH) * (len(edges(width)) - PATCH)


def edges(side: int) -> list[int]:
    """Where the cells of a side begin, and the last one ends: 8 cells, or one for each pixel where there are fewer."""
    return np.linspace(0, side, min(CELLS, side) + 1).round().astype(int).tolist()
