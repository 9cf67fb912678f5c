"""Tiny diffusion pipelines of diffusers with random weights, and folders of small images to learn to draw."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import numpy as np
from PIL import Image

SIDE, STEPS = 8, 100
TRAIN = {"batch_size": 16, "threads": 1, "precision": "fp32", "device": "cpu", "learning_rate": 2e-3}


def pipeline(
    folder: Path, prediction: str = "epsilon", name: str = "DDPM", scheduler: dict[str, Any] | None = None, **unet: Any
) -> Path:
    """A folder of a pipeline that draws grey images of 8x8 pixels."""
    import diffusers
    import torch

    torch.manual_seed(0)
    options: dict[str, Any] = {
        "sample_size": SIDE,
        "in_channels": 1,
        "out_channels": 1,
        "layers_per_block": 1,
        "block_out_channels": (16, 32),
        "norm_num_groups": 8,
        "down_block_types": ("DownBlock2D", "AttnDownBlock2D"),
        "up_block_types": ("AttnUpBlock2D", "UpBlock2D"),
    }
    network = diffusers.UNet2DModel(**(options | unet))
    made = getattr(diffusers, f"{name}Scheduler")(
        num_train_timesteps=STEPS, prediction_type=prediction, **(scheduler or {})
    )
    getattr(diffusers, f"{name}Pipeline")(network, made).save_pretrained(folder)
    return folder


def digits(folder: Path, classes: range = range(10), each: int = 12, named: bool = True) -> Path:
    """scikit-learn's digits as PNG files, in a folder for each class, or all in one."""
    from sklearn.datasets import load_digits

    data = load_digits()
    for digit in classes:
        for place in np.flatnonzero(data.target == digit)[:each]:
            path = folder / (str(digit) if named else "") / f"{place:04d}.png"
            path.parent.mkdir(parents=True, exist_ok=True)
            Image.fromarray((data.images[place] * 255 / 16).round().astype(np.uint8)).save(path)
    return folder
