"""What a model card says of a model that draws images: its task in words, and the code that loads it."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any

from tunewise.types import IMAGE_GENERATION

TAG = "unconditional-image-generation"

_TUNEWISE = """\
```python
from tunewise import load

model = load({folder})
for number, image in enumerate(model.sample(16{label})):
    image.save(f"{{number}}.png")
```"""

_PIPELINE = """\
```python
from diffusers import DDIMPipeline

pipeline = DDIMPipeline.from_pretrained({folder})
images = pipeline(batch_size=16, num_inference_steps=50).images
```"""

_OF_CLASSES = """\
```python
import torch
from diffusers import DDIMScheduler, UNet2DModel

folder = {folder}
unet = UNet2DModel.from_pretrained(folder, subfolder="unet").eval()
scheduler = DDIMScheduler.from_pretrained(folder, subfolder="scheduler")
scheduler.set_timesteps(50)
size = unet.config.sample_size
sides = (size, size) if isinstance(size, int) else size
images = torch.randn(16, unet.config.in_channels, *sides)
classes = torch.zeros(16, dtype=torch.long)  # the first class, {first}
with torch.no_grad():
    for step in scheduler.timesteps:
        images = scheduler.step(unet(images, step, classes).sample, step, images).prev_sample
images = (images / 2 + 0.5).clamp(0, 1)
```"""


def draws_images(record: Mapping[str, Any]) -> bool:
    """Whether the model of a record draws images."""
    return record["data"]["schema"]["task"] == IMAGE_GENERATION


def drawing_in_words(schema: Mapping[str, Any]) -> str:
    """What the model does, to stand behind "This model"."""
    return "draws images of the class that it is told" if schema.get("labels") else "draws images"


def drawing_code(record: Mapping[str, Any], quoted: Any) -> str:
    """The code for the pipeline; tunewise's own after that of diffusers.

    Args:
        quoted: makes a Python literal of a string.
    """
    labels, folder = record["data"]["schema"].get("labels") or (), quoted("path/to/this/folder")
    label = f", label={quoted(labels[0])}" if labels else ""
    own = _TUNEWISE.format(folder=folder, label=label)
    code = _PIPELINE.format(folder=folder)
    if labels:
        code = _OF_CLASSES.format(folder=folder, first=ascii(" ".join(str(labels[0]).split())[:40]))
    return f"{code}\n\nOr with tunewise, whose images follow from a seed:\n\n{own}"
