"""The images that all sides read, and the model that they train: the user's, or both made here, the same each time."""

from __future__ import annotations

import shutil
from pathlib import Path

import numpy as np

CLASSES = 4
WIDTHS, HEIGHTS = (220, 400), (180, 320)
"""Pixels of the images made here, as photographs of a phone's gallery have them."""
SIZE = 96
"""Pixels of a side that the model made here reads."""
STAGES = (64, 128, 256, 512)
HELD_OUT = 2
"""Images of a class for validation, which our side needs and no side learns from."""
ENDINGS = (".jpg", ".jpeg", ".png", ".webp")
TEST_FOLDERS = ("test", "val")


def write_images(folder: Path, rows: int, test_rows: int, seed: int = 0) -> None:
    """JPEG files of stripes under noise, whose direction is their class, into train, val and test."""
    from PIL import Image

    draw = np.random.default_rng(seed)
    for part, count in (("train", rows), ("val", HELD_OUT * CLASSES), ("test", test_rows)):
        for number in range(count):
            kind = number % CLASSES
            file = folder / part / f"direction{kind}" / f"{number:05}.jpg"
            file.parent.mkdir(parents=True, exist_ok=True)
            Image.fromarray(_stripes(draw, np.pi * kind / CLASSES)).save(file, quality=90)


def _stripes(draw: np.random.Generator, angle: float) -> np.ndarray:
    """uint8 (H, W, 3)."""
    height, width = draw.integers(*HEIGHTS), draw.integers(*WIDTHS)
    rows_H1, columns_1W = np.mgrid[:height, :1][0], np.mgrid[:1, :width][1]
    along_HW = rows_H1 * np.sin(angle) + columns_1W * np.cos(angle)
    wave_HW = 40 * np.sin(2 * np.pi * along_HW / draw.uniform(16, 32) + draw.uniform(0, 2 * np.pi))
    noise_HW3 = draw.normal(scale=30, size=(height, width, 3)) + draw.uniform(90, 160, size=3)
    return (noise_HW3 + wave_HW[..., None]).clip(0, 255).astype(np.uint8)


def write_model(folder: Path) -> None:
    """A random ResNet of the shape of ResNet-18 (11.2M parameters), with its image processor."""
    import torch
    from transformers import ResNetConfig, ResNetForImageClassification
    from transformers.models.vit.image_processing_pil_vit import ViTImageProcessorPil

    depths = [2] * len(STAGES)
    config = ResNetConfig(embedding_size=STAGES[0], hidden_sizes=list(STAGES), depths=depths, layer_type="basic")
    torch.manual_seed(0)
    ResNetForImageClassification(config).save_pretrained(folder)
    ViTImageProcessorPil(size={"height": SIZE, "width": SIZE}).save_pretrained(folder)


def take_images(data: Path, folder: Path, rows: int | None, test_rows: int | None) -> None:
    """Copies the first images of each class of a folder with train and test (or val), two of each for validation.

    Args:
        rows, test_rows: how many at most, in equal shares of the classes; None for all.

    Raises:
        ValueError: the folder has no train, no test and no val, or a class of train has too few images.
    """
    test = next((name for name in TEST_FOLDERS if (data / name).is_dir()), None)
    if test is None or not (data / "train").is_dir():
        raise ValueError(f"{data} has no folder 'train', or neither 'test' nor 'val'")
    for part, source, limit in (("train", "train", rows), ("test", test, test_rows)):
        classes = sorted(place for place in (data / source).iterdir() if place.is_dir())
        for place in classes:
            files = sorted(file for file in place.iterdir() if file.suffix.lower() in ENDINGS)
            held_out = HELD_OUT if part == "train" else 0
            if len(files) <= held_out:
                raise ValueError(f"{place} has {len(files)} images; more than {held_out} are needed")
            _copy(files[:held_out], folder / "val" / place.name)
            share = None if limit is None else max(1, limit // len(classes))
            _copy(files[held_out:][:share], folder / part / place.name)


def _copy(files: list[Path], folder: Path) -> None:
    if files:
        folder.mkdir(parents=True, exist_ok=True)
    for file in files:
        shutil.copyfile(file, folder / file.name)


def count_images(folder: Path) -> int:
    """Of all classes of a folder."""
    return sum(1 for _ in folder.glob("*/*"))
