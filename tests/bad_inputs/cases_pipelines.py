"""Bad pipelines of diffusers: told by names, configurations and headers, before any weights load."""

from __future__ import annotations

import json
import struct
from collections.abc import Callable
from pathlib import Path
from typing import Any

from case import Arguments, Case, Desk, error

UNET = "unet/diffusion_pytorch_model.safetensors"


def pipeline(spoil: Callable[[Path], object]) -> Callable[[Desk], Arguments]:
    """`tunewise train` with a pipeline that is sound as far as it can be seen, after this was done to it."""

    def make(desk: Desk) -> Arguments:
        parts = {"unet": ["diffusers", "UNet2DModel"], "scheduler": ["diffusers", "DDPMScheduler"]}
        network = {"sample_size": 8, "in_channels": 1, "out_channels": 1, "layers_per_block": 1}
        files: dict[str, Any] = {
            "model_index.json": {"_class_name": "DDPMPipeline", **parts},
            "scheduler/scheduler_config.json": {"num_train_timesteps": 100},
            "unet/config.json": {"_class_name": "UNet2DModel", "block_out_channels": [4], **network},
        }
        for name, content in files.items():
            desk.write(f"model/{name}", json.dumps(content))
        tensor = {"dtype": "F32", "shape": [4, 1, 3, 3], "data_offsets": [0, 144]}
        header = json.dumps({"conv_in.weight": tensor}).encode().ljust(128)
        desk.write(f"model/{UNET}", struct.pack("<Q", len(header)) + header + bytes(144))
        spoil(desk.folder / "model")
        return desk.train(model="model")

    return make


def change(name: str, **keys: Any) -> Callable[[Path], object]:
    return lambda folder: (folder / name).write_text(json.dumps(json.loads((folder / name).read_text()) | keys))


CASES = (
    Case(
        "no config",
        "a pipeline with code of its own",
        pipeline(lambda folder: (folder / "unet" / "mine.py").write_text("raise SystemExit")),
        error(
            "this pipeline brings Python code of its own (unet/mine.py), which tunewise never runs",
            "{folder}/model",
            "take a pipeline whose classes are part of diffusers (DDPMPipeline, DDIMPipeline)",
        ),
    ),
    Case(
        "no config",
        "a pipeline from text to image",
        pipeline(change("model_index.json", _class_name="StableDiffusionPipeline")),
        error(
            "the class of this pipeline is 'StableDiffusionPipeline'; DDPMPipeline and DDIMPipeline can be trained",
            "{folder}/model/model_index.json",
            "take a pipeline that draws images from noise alone, or of a class, saved by diffusers",
        ),
    ),
    Case(
        "no config",
        "a pipeline without its scheduler",
        pipeline(lambda folder: (folder / "scheduler" / "scheduler_config.json").unlink()),
        error(
            "the pipeline has no scheduler/scheduler_config.json",
            "{folder}/model/scheduler/scheduler_config.json",
            "name a folder saved by diffusers (save_pretrained)",
        ),
    ),
    Case(
        "missing shard",
        "a pipeline whose weights are a pickle",
        pipeline(lambda folder: (folder / UNET).rename(folder / "unet" / "diffusion_pytorch_model.bin")),
        error(
            "the weights are a pickle (diffusion_pytorch_model.bin), which can run code when it is opened",
            "{folder}/model/unet",
            "save the model again as safetensors",
        ),
    ),
    Case(
        "truncated safetensors",
        "of a pipeline",
        pipeline(lambda folder: (folder / UNET).write_bytes((folder / UNET).read_bytes()[:-4])),
        error(
            "diffusion_pytorch_model.safetensors should have 280 bytes and has 276",
            "{folder}/model/" + UNET,
            "download the model again",
        ),
    ),
    Case(
        "shape mismatch",
        "a network of another width",
        pipeline(change("unet/config.json", block_out_channels=[8])),
        error(
            "the weights begin with a convolution of shape [4, 1, 3, 3], and config.json says 8 channels from 1",
            "{folder}/model/unet/config.json",
            "check that config.json and weights belong together",
        ),
    ),
    Case(
        "shape mismatch",
        "a network of latents",
        pipeline(change("unet/config.json", in_channels=4, out_channels=4)),
        error(
            "the network reads 4 channels; images of 1 (grey) or 3 (RGB) are drawn",
            "{folder}/model/unet/config.json",
            "take a model of pixels: those of latents need the network that makes them",
        ),
    ),
)
