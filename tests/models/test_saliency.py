"""Grad-CAM and occlusion against computations by hand, on tiny models."""

from __future__ import annotations

import numpy as np
import pytest
import torch
from transformers import AutoModelForImageClassification

from tunewise.models.blocks import map_model
from tunewise.models.saliency import edges, grad_cam, map_layer, occlusion, passes

SIDE = 64


@pytest.fixture(scope="module")
def loaded(tiny_model):
    def load(family: str):
        torch.manual_seed(1)
        options = {"image_size": SIDE} if family == "convnext" else {}
        model = AutoModelForImageClassification.from_pretrained(tiny_model(family), num_labels=3, **options).eval()
        blocks = [model.get_submodule(block.path) for block in map_model(model).blocks]
        return model, blocks

    return load


def images(count: int, side: int = SIDE) -> torch.Tensor:
    return torch.randn(count, 3, side, side, generator=torch.Generator().manual_seed(3))


def by_hand(model, block, pixels, outputs):
    """With the gradients of the whole network, one image after the other."""
    found = []
    for image, output in zip(pixels, outputs, strict=True):
        kept = []

        def keep(module, inputs, output_, kept=kept):
            kept.append(output_[0] if isinstance(output_, tuple) else output_)
            kept[0].retain_grad()

        handle = block.register_forward_hook(keep)
        model.zero_grad()
        model(pixel_values=image[None].clone().requires_grad_()).logits[0, output].backward()
        handle.remove()
        activation, gradient = kept[0].detach()[0], kept[0].grad[0]
        total = torch.zeros(activation.shape[1:], dtype=activation.dtype)
        for channel in range(len(activation)):
            total += gradient[channel].mean() * activation[channel]
        found.append(torch.clamp(total, min=0).numpy())
    model.zero_grad(set_to_none=True)
    return np.stack(found)


@pytest.mark.parametrize("family", ["resnet", "convnext", "mobilenet_v2"])
def test_grad_cam_is_that_of_the_paper(loaded, family):
    model, blocks = loaded(family)
    model, pixels, outputs = model.double(), images(3).double(), [2, 0, 1]  # tiny random nets enlarge what is rounded

    def logits(pixels):
        return model(pixel_values=pixels).logits

    block = map_layer(blocks, logits, pixels[:1])
    wanted = by_hand(model, block, pixels, outputs)
    for parameter in model.parameters():
        parameter.requires_grad_(False)  # as the frozen part of a trained model is
    maps = grad_cam(block, logits, pixels, outputs)
    assert maps.shape == wanted.shape and maps.shape[1] * maps.shape[2] > 1
    assert maps.any() and np.abs(maps - wanted).max() <= 1e-5 * wanted.max()
    assert not block._forward_hooks and all(parameter.grad is None for parameter in model.parameters())


def test_of_which_block_a_map_is_made(loaded):
    def layer(family, side=SIDE):
        model, blocks = loaded(family)
        found = map_layer(blocks, lambda pixels: model(pixel_values=pixels).logits, images(1, side))
        return None if found is None else blocks.index(found) - len(blocks)

    assert layer("resnet") == -1
    assert layer("vit", 16) is None and layer("swin", 16) is None  # rows of patches
    assert layer("mobilenet_v2") == -1
    assert layer("mobilenet_v2", 32) < -1  # where the last maps are a single place, the one before them


def test_a_block_that_the_output_does_not_read_has_no_map():
    block = torch.nn.Conv2d(3, 4, 3)

    def logits(pixels):
        block(pixels)
        return pixels.mean(dim=(2, 3)).requires_grad_()

    assert grad_cam(block, logits, images(1, 16), [0]) is None


@pytest.mark.parametrize(("height", "width", "at_once"), [(16, 16, 7), (37, 22, 100), (5, 9, 1)])
def test_occlusion_is_what_a_loop_finds(height, width, at_once):
    """A patch of two by two cells is set at every place; a cell is the mean over the patches on it."""
    pixels = torch.rand(3, height, width, generator=torch.Generator().manual_seed(0))
    weight = torch.rand(3, height, width, generator=torch.Generator().manual_seed(1)) - 0.5
    grey = torch.tensor([0.4, 0.5, 0.6])
    asked = []

    def probability(images):
        asked.append(len(images))
        return torch.sigmoid((images * weight).sum(dim=(1, 2, 3)) / 50).numpy()

    found = occlusion(probability, pixels, grey, at_once)
    rows, columns = edges(height), edges(width)
    drops = [[[] for _ in columns[1:]] for _ in rows[1:]]
    whole = torch.sigmoid((pixels * weight).sum() / 50)
    for top in range(len(rows) - 2):
        for left in range(len(columns) - 2):
            image = pixels.clone()
            for y in range(rows[top], rows[top + 2]):
                for x in range(columns[left], columns[left + 2]):
                    image[:, y, x] = grey
            drop = float(whole - torch.sigmoid((image * weight).sum() / 50))
            for y, x in ((0, 0), (0, 1), (1, 0), (1, 1)):
                drops[top + y][left + x].append(drop)
    wanted = np.array([[np.mean(cell) for cell in row] for row in drops])
    assert found.shape == (min(8, height), min(8, width))
    assert np.abs(found - wanted).max() < 1e-6 and np.abs(wanted).max() > 1e-4
    assert sum(asked) == passes(height, width) and max(asked) <= at_once
    assert torch.equal(pixels, torch.rand(3, height, width, generator=torch.Generator().manual_seed(0)))
