"""The folder of a diffusion pipeline (DDPM or DDIM of diffusers), checked before any weight is read: data, never code.

model_index.json                                  which classes of diffusers it is made of
unet/config.json                                  sizes of the network that predicts noise
unet/diffusion_pytorch_model.safetensors          its weights
scheduler/scheduler_config.json                   how noise is added
"""

from __future__ import annotations

import importlib.util
import json
from collections.abc import Mapping
from pathlib import Path
from typing import TYPE_CHECKING, Any

from tunewise.errors import ModelError
from tunewise.models.folder_files import check_files, read_json
from tunewise.models.weights_files import check_weights
from tunewise.types import IMAGE_GENERATION, Schema

if TYPE_CHECKING:
    from tunewise.models.located import LocatedModel

INDEX = "model_index.json"
UNET, SCHEDULER = "unet", "scheduler"
UNET_CONFIG, SCHEDULER_CONFIG = "config.json", "scheduler_config.json"
WEIGHTS = "diffusion_pytorch_model"
FAMILY = "diffusers-unet2d"
"""The kind of model, as `model_type` is of those of transformers."""
PIPELINES = ("DDPMPipeline", "DDIMPipeline")
SCHEDULERS = ("DDPMScheduler", "DDIMScheduler")
PREDICTIONS = ("epsilon", "sample", "v_prediction")
CHANNELS = (1, 3)
LARGEST = 1024  # pixels of a side
MOST_STEPS = 100_000


def is_pipeline(path: Path) -> bool:
    """Whether a folder is one of diffusers."""
    return (path / INDEX).is_file()


def draws(config: Mapping[str, Any]) -> bool:
    """Whether the configuration of a located model is that of a diffusion pipeline."""
    return config.get("model_type") == FAMILY


def check_draws(located: LocatedModel, schema: Schema) -> None:
    """Raises where a model draws images and the task is another, or the other way round.

    Raises:
        ModelError: names both.
    """
    generates = schema.task == IMAGE_GENERATION
    if draws(located.config) and not generates:
        raise ModelError(
            f"the model draws images (a pipeline of diffusers); the task is {schema.task}",
            where=str(located.path),
            fix=f"set data.task to {IMAGE_GENERATION}, or take a model that reads",
        )
    if generates and not draws(located.config):
        raise ModelError(
            f"the model is a '{located.family}', which draws no images",
            where=str(located.path),
            fix="take the folder of a DDPMPipeline or DDIMPipeline of diffusers (with model_index.json)",
        )


def check_pipeline(path: Path) -> tuple[dict[str, Any], dict[str, Any]]:
    """What describes the model (`unet`, `scheduler` and `pipeline` as the files have them), and the headers of its
    weights.

    Raises:
        ModelError: it needs code of its own, its weights are a pickle, or it is not made for what is done here.
    """
    _check_plain(path)
    pipeline = _pipeline_of(path)
    unet = _read(path / UNET / UNET_CONFIG)
    scheduler = _read(path / SCHEDULER / SCHEDULER_CONFIG)
    _check_scheduler(scheduler, path / SCHEDULER / SCHEDULER_CONFIG)
    headers = check_weights(path / UNET, WEIGHTS)
    _check_unet(unet, headers, path / UNET / UNET_CONFIG)
    if importlib.util.find_spec("diffusers") is None:
        raise ModelError(
            "this is a model of diffusers, which is not installed",
            where=str(path),
            fix="pip install 'tunewise[diffusion]'",
        )
    return {"model_type": FAMILY, "pipeline": pipeline, "unet": unet, "scheduler": scheduler}, headers


def _check_plain(path: Path) -> None:
    """No code, and no file that leads elsewhere."""
    code = sorted(file.relative_to(path).as_posix() for file in path.rglob("*.py"))
    if code:
        raise ModelError(
            f"this pipeline brings Python code of its own ({code[0]}), which tunewise never runs",
            where=str(path),
            fix=f"take a pipeline whose classes are part of diffusers ({', '.join(PIPELINES)})",
        )
    for folder in (path, path / UNET, path / SCHEDULER):
        if folder.is_dir():
            if not folder.resolve().is_relative_to(path.resolve()):
                raise ModelError(
                    f"{folder.name} is a link out of the model folder", where=str(folder), fix="copy it into the folder"
                )
            check_files(folder)


def _pipeline_of(path: Path) -> str:
    index, file = _read(path / INDEX), path / INDEX
    name = index.get("_class_name")
    if name not in PIPELINES:
        custom = isinstance(name, list)
        what = "is code of its own" if custom else f"is {name!r}"
        raise ModelError(
            f"the class of this pipeline {what}; {' and '.join(PIPELINES)} can be trained",
            where=str(file),
            fix="take a pipeline that draws images from noise alone, or of a class, saved by diffusers",
        )
    parts = {key: value for key, value in index.items() if isinstance(value, list)}
    wanted = {UNET: ("UNet2DModel",), SCHEDULER: SCHEDULERS}
    for part, classes in wanted.items():
        found = parts.pop(part, None)
        if not (isinstance(found, list) and len(found) == 2 and found[0] == "diffusers" and found[1] in classes):
            raise ModelError(
                f"the {part} of this pipeline is {json.dumps(found)[:100]}; {' or '.join(classes)} of diffusers can be "
                "used",
                where=str(file),
                fix=f"take a pipeline with a {classes[0]}",
            )
    if parts:
        raise ModelError(
            f"the pipeline has a part that {name} does not have: {next(iter(parts))}",
            where=str(file),
            fix="do not use this model",
        )
    return str(name)


def _check_scheduler(scheduler: Mapping[str, Any], file: Path) -> None:
    prediction, steps = scheduler.get("prediction_type", "epsilon"), scheduler.get("num_train_timesteps", 1000)
    if prediction not in PREDICTIONS:
        raise ModelError(
            f"the scheduler's prediction_type is {prediction!r:.60}; {', '.join(PREDICTIONS)} are known",
            where=str(file),
            fix="take the file that was published with the model",
        )
    if type(steps) is not int or not 1 < steps <= MOST_STEPS:
        raise ModelError(
            f"the scheduler's num_train_timesteps is {steps!r:.60}; 2 to {MOST_STEPS:,} are believed",
            where=str(file),
            fix="take the file that was published with the model",
        )


def _check_unet(unet: Mapping[str, Any], headers: Mapping[str, Any], file: Path) -> None:
    """What can be told of the network from its configuration and the names and shapes of its weights."""

    def wrong(what: str, fix: str = "check that config.json and weights belong together") -> ModelError:
        return ModelError(what, where=str(file), fix=fix)

    if unet.get("_class_name") not in ("UNet2DModel", None) or "auto_map" in unet:
        raise wrong(f"the network is a {unet.get('_class_name')!r:.60}, not a UNet2DModel", "take another model")
    height, width = sides_of(unet)
    if not all(type(side) is int and 2 <= side <= LARGEST for side in (height, width)):
        raise wrong(
            f"the network's sample_size is {unet.get('sample_size')!r:.60}; images of 2 to {LARGEST} pixels a side are "
            "drawn",
            "set sample_size to the height (and width) of the images that it was trained on",
        )
    channels, out = unet.get("in_channels", 3), unet.get("out_channels", 3)
    if channels not in CHANNELS:
        raise wrong(
            f"the network reads {channels!r:.20} channels; images of 1 (grey) or 3 (RGB) are drawn",
            "take a model of pixels: those of latents need the network that makes them",
        )
    if out != channels:
        raise wrong(
            f"the network reads {channels} channels and gives {out!r:.20}: it predicts more than noise",
            "take a model that predicts as many channels as it reads",
        )
    if unet.get("class_embed_type") is not None:
        raise wrong(
            f"the classes of this network are embedded as {unet['class_embed_type']!r:.40}, not by number",
            "take a model with num_class_embeds, or without classes",
        )
    shapes = {name: tuple(entry["shape"]) for header in headers.values() for name, entry in header.items()}
    widths, depth = unet.get("block_out_channels", (224, 448, 672, 896)), unet.get("layers_per_block", 2)
    if not isinstance(widths, (list, tuple)) or not all(type(each) is int and each > 0 for each in widths):
        raise wrong(f"block_out_channels is {widths!r:.80}, not a list of sizes")
    if type(depth) is not int or not 1 <= depth * len(widths) <= len(shapes):
        raise wrong(
            f"config.json says {depth!r:.20} layers in {len(widths)} blocks, and the weights have {len(shapes)}"
        )
    if shapes.get("conv_in.weight", ())[:2] != (widths[0], channels):
        raise wrong(
            f"the weights begin with a convolution of shape {list(shapes.get('conv_in.weight', ()))}, and config.json "
            f"says {widths[0]} channels from {channels}"
        )
    classes, table = unet.get("num_class_embeds"), shapes.get("class_embedding.weight")
    if (classes is None) != (table is None) or (table is not None and table[0] != classes):
        raise wrong(f"config.json says {classes} classes, and the weights hold {table[0] if table else 'none'}")


def sides_of(unet: Mapping[str, Any]) -> tuple[Any, Any]:
    """Height and width of the images that a network draws, as its configuration says."""
    size = unet.get("sample_size")
    if isinstance(size, (list, tuple)) and len(size) == 2:
        return size[0], size[1]
    return size, size


def _read(file: Path) -> dict[str, Any]:
    if not file.is_file():
        raise ModelError(
            f"the pipeline has no {file.parent.name}/{file.name}" if file.name != INDEX else f"there is no {INDEX}",
            where=str(file),
            fix="name a folder saved by diffusers (save_pretrained)",
        )
    content = read_json(file)
    if not isinstance(content, dict):
        raise ModelError(f"{file.name} describes nothing", where=str(file), fix="download the model again")
    return content
