"""What the trained model looked at in some images of the first test set: maps, as plain data for the page.

Shape legend: B images, C channels or outputs, H height, W width, h and w height and width of a map.
"""

from __future__ import annotations

from collections.abc import Callable
from typing import Any

import numpy as np
import torch
from torch import nn

from tunewise.data.batches import rows_at_once
from tunewise.data.pixels import Pixels
from tunewise.data.thumbnails import as_the_model_sees
from tunewise.engine.output_layer import read_by_output_layer
from tunewise.engine.pixels import encode_pictures
from tunewise.engine.train import Trained
from tunewise.evaluate.notable_rows import rows_to_look_at, said_of
from tunewise.evaluate.scores import to_scores
from tunewise.evaluate.settings import EvaluateConfig
from tunewise.models.modes import eval_mode
from tunewise.models.saliency import Logits, grad_cam, map_layer, occlusion, passes
from tunewise.models.wrapped import plain_model
from tunewise.types import DataBundle, Predictions, Schema

LOOKED_AT = 6
"""Images, where the recipe does not say how many."""
DIGITS = 5
"""Of a number of a map: its scale is that of the model's outputs, which may be small."""


def images_looked_at(config: EvaluateConfig, schema: Schema) -> int:
    """How many images of a run are looked at."""
    if not schema.image or schema.task not in ("classification", "multilabel"):
        return 0
    return LOOKED_AT if config.looked_at is None else config.looked_at


def look(
    trained: Trained, data: DataBundle, predictions: Predictions, config: EvaluateConfig, stop: Callable[[], None]
) -> dict[str, Any]:
    """Maps of `images_looked_at` images of the first test set, as plain data; empty where there are none to look at.

    `how` is grad-cam or occlusion, `passes` the forward passes it took. Each of `images` has its row, name, true labels
    (indices), the class looked at, its probability, why it was chosen, the image as the model gets it, and `map`, rows
    of numbers over that image: of Grad-CAM at least 0, in units of the output times the map's; of occlusion by how much
    the probability falls.

    Args:
        predictions: of the first test set.
    """
    count, schema = images_looked_at(config, data.schema), data.schema
    if not count:
        return {}
    test = next(iter(data.tests.values()))
    chosen = rows_to_look_at(predictions, schema.task, count)
    said = [said_of(predictions, place, schema.task) for place in chosen]
    pixels = encode_pictures([test.texts[place] for place in chosen], trained.net, None)
    how, maps, spent = _maps(trained, pixels, [one.output for one in said], schema, config.batch_size, stop)
    images = []
    for number, (place, why) in enumerate(chosen.items()):
        target = test.targets[place]
        images.append(
            {
                "row": int(test.rows[place]),
                "name": test.texts[place][0].shown,
                "truth": [int(target)] if schema.task == "classification" else np.flatnonzero(target).tolist(),
                "output": said[number].output,
                "probability": said[number].probability,
                "right": said[number].right,
                "why": why,
                "image": as_the_model_sees(pixels.stored[number]),
                "map": [[float(f"{value:.{DIGITS}g}") for value in row] for row in maps[number]],
            }
        )
    return {"test": test.name, "how": how, "passes": spent, "images": images}


def _maps(
    trained: Trained, pixels: Pixels, outputs: list[int], schema: Schema, batch_size: int, stop: Callable[[], None]
) -> tuple[str, list[np.ndarray], int]:
    """By which way, a map (h, w) for each image, and the forward passes."""
    net = trained.net
    logits, device = logits_of(trained), next(net.model.parameters()).device
    base = plain_model(net.model)
    blocks = [base.get_submodule(block.path) for block in net.map.blocks]

    def batch(rows: list[int]) -> torch.Tensor:
        stop()
        return pixels.batch(rows)["pixel_values"].to(device)

    rows = list(range(len(pixels)))
    with eval_mode(net.model):
        block, maps = map_layer(blocks, logits, batch([0])), []
        if block is not None:
            for row in rows:  # one at a time: no more memory than a step has
                found = grad_cam(block, told_apart(logits, schema), batch([row]), [outputs[row]])
                maps += [] if found is None else list(found)
        if len(maps) == len(rows):
            return "grad-cam", maps, len(rows)
        at_once = rows_at_once(int(pixels.sizes[0]), batch_size)
        grey_C = _grey(trained).to(device)
        for row in rows:
            seen = _probability(logits, schema, outputs[row], stop)
            maps.append(occlusion(seen, batch([row])[0], grey_C, at_once))
        _, _, height, width = pixels.stored.shape
        return "occlusion", maps, len(rows) * passes(height, width)


def told_apart(logits: Logits, schema: Schema) -> Logits:
    """Of classes, each output less the mean of all: what is the same for all classes, softmax does not see, and a head
    may put anything there (that of two classes by logistic regression gives the first always 0)."""
    if schema.task != "classification":
        return logits

    def centred(pixels_BCHW: torch.Tensor) -> torch.Tensor:
        said_BC = logits(pixels_BCHW)
        return said_BC - said_BC.mean(dim=1, keepdim=True)

    return centred


def logits_of(trained: Trained) -> Logits:
    """From pixel values to the outputs of the model handed over, (B, C), with gradients: of `features`, through what
    the output layer reads and the head that was fitted."""
    model, head = trained.net.model, trained.head
    if head is None:
        return lambda pixels_BCHW: model(pixel_values=pixels_BCHW).logits
    device = next(model.parameters()).device
    layers = [[torch.from_numpy(tensor).to(device).float() for tensor in layer] for layer in head.layers]
    normalize = trained.plan.solver.options["normalize"]

    def logits(pixels_BCHW: torch.Tensor) -> torch.Tensor:
        with read_by_output_layer(trained.net) as read:
            model(pixel_values=pixels_BCHW)
        out = read[0].float()
        out = nn.functional.normalize(out, dim=-1) if normalize else out
        for number, (weight_FC, bias_C) in enumerate(layers):
            out = out @ weight_FC + bias_C
            out = torch.relu(out) if number < len(layers) - 1 else out
        return out

    return logits


def _probability(
    logits: Logits, schema: Schema, output: int, stop: Callable[[], None]
) -> Callable[[torch.Tensor], np.ndarray]:
    def seen(pixels_BCHW: torch.Tensor) -> np.ndarray:
        stop()
        with torch.no_grad():
            return to_scores(schema.task, logits(pixels_BCHW).float().cpu().numpy())[:, output]

    return seen


def _grey(trained: Trained) -> torch.Tensor:
    """What the model gets of mid grey, (C,)."""
    from PIL import Image

    processor = trained.net.processor
    stored_CHW = processor.geometry(Image.new("RGB", (64, 64), (128, 128, 128)))
    grey_1CHW = Pixels(stored_CHW[None], processor.scale_C, processor.shift_C).batch([0])["pixel_values"]
    _, _, height, width = grey_1CHW.shape
    return grey_1CHW[0, :, height // 2, width // 2]
