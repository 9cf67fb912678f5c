"""From the folder of a diffusion pipeline to a net that predicts noise, and back to a folder.

Shape legend: B images of a batch, C channels, H height, W width, E width of the embedding of a class.
"""

from __future__ import annotations

from dataclasses import dataclass
from pathlib import Path
from typing import Any

import torch
from torch import nn

from tunewise.errors import ModelError
from tunewise.models.drawn_pixels import DrawnPixels
from tunewise.models.finite_values import all_finite
from tunewise.models.from_files import told_as
from tunewise.models.from_runs import class_names
from tunewise.models.hub_kernels import import_bitsandbytes
from tunewise.models.located import LocatedModel
from tunewise.models.noise_schedule import NoiseSchedule
from tunewise.models.pipeline_folder import FAMILY, UNET, check_draws, sides_of
from tunewise.models.unet_map import CLASS_EMBEDDING, map_unet
from tunewise.types import ModelMap, Schema

SPREAD_OF_NEW = 0.02
"""Standard deviation of the first values of the embedding of a class that the base does not know: small beside what
timesteps embed to, so that the network begins as it was."""


@dataclass(frozen=True)
class DenoiserConfig:
    """What a `Denoiser` is made of: the configurations of network and scheduler, as diffusers has them, and the class
    of the pipeline."""

    unet: dict[str, Any]
    scheduler: dict[str, Any]
    pipeline: str
    model_type: str = FAMILY
    num_labels: int = 2
    """Numbers of each row (`types.ROW_NUMBERS`)."""

    def to_dict(self) -> dict[str, Any]:
        return {"model_type": self.model_type, "unet": self.unet, "scheduler": self.scheduler}


class Denoiser(nn.Module):
    """The network of a pipeline, with random weights as diffusers draws them."""

    def __init__(self, config: DenoiserConfig):
        super().__init__()
        from diffusers import UNet2DModel

        self.config = config
        self.unet = _with_safe_norms(UNet2DModel.from_config({**config.unet}))

    def forward(
        self, pixel_values: torch.Tensor, timestep: torch.Tensor, class_labels: torch.Tensor | None = None
    ) -> torch.Tensor:
        """What it predicts of images with noise, (B, C, H, W).

        Args:
            timestep: int64 (B,), or one for all.
        """
        return self.unet(pixel_values, timestep, class_labels, return_dict=False)[0]

    def save_pretrained(self, folder: Path) -> None:
        """Writes the folder of a pipeline, as diffusers does: safetensors, and no code."""
        import diffusers

        scheduler = "DDIMScheduler" if self.config.pipeline == "DDIMPipeline" else "DDPMScheduler"
        made = getattr(diffusers, scheduler).from_config({**self.config.scheduler})
        getattr(diffusers, self.config.pipeline)(self.unet, made).save_pretrained(folder, safe_serialization=True)


def import_diffusers() -> None:
    """Before anything of diffusers is imported: it looks for bitsandbytes, which is not to fetch code."""
    import_bitsandbytes()
    import diffusers  # noqa: F401


@dataclass(frozen=True, eq=False)
class LoadedDenoiser:
    """The parts of a `Net` that draws images."""

    model: Denoiser
    map: ModelMap
    processor: DrawnPixels
    noise: NoiseSchedule
    notes: tuple[str, ...]


def load_denoiser(located: LocatedModel, schema: Schema, seed: int = 0, dropout: float | None = None) -> LoadedDenoiser:
    """Loads network and scheduler in fp32. Where the schema has classes, those that the base knows by name keep what
    they are embedded as; for the others new values are drawn, by `seed`.

    Raises:
        ModelError: diffusers cannot load it, weights are missing, of other shapes, or not finite.
    """
    check_draws(located, schema)
    import_diffusers()
    unet = {**located.config["unet"], **({} if dropout is None else {"dropout": dropout})}
    model = _pretrained(located, unet)
    notes = [located.note] if located.note else []
    drawn, told = _settle_classes(model, schema, located, seed)
    net_map = map_unet(model, UNET, drawn)
    _check_finite(model, located)
    size = sides_of(unet)
    shape = (int(unet.get("in_channels", 3)), int(size[0]), int(size[1]))
    _check_runs(model, shape, bool(schema.labels), located)
    noise = noise_schedule(model.config.scheduler)
    return LoadedDenoiser(model, net_map, DrawnPixels(shape), noise, (*notes, *told))


def noise_schedule(scheduler: dict[str, Any]) -> NoiseSchedule:
    """What a scheduler's configuration says of noise."""
    from diffusers import DDPMScheduler

    made = DDPMScheduler.from_config({**scheduler})
    return NoiseSchedule(made.alphas_cumprod.float().numpy(), made.config.prediction_type)


def _pretrained(located: LocatedModel, unet: dict[str, Any]) -> Denoiser:
    from diffusers import UNet2DModel
    from diffusers.utils import logging

    logging.set_verbosity_error()
    logging.disable_progress_bar()

    def unsound(said: str) -> ModelError:
        return ModelError(
            f"diffusers cannot load this network: {said}",
            where=str(located.path / UNET),
            fix="check that config.json and weights belong together",
        )

    with told_as(unsound):
        loaded, report = UNet2DModel.from_pretrained(
            located.path,
            subfolder=UNET,
            use_safetensors=True,
            local_files_only=True,
            low_cpu_mem_usage=False,
            torch_dtype=torch.float32,
            output_loading_info=True,
            dropout=unet.get("dropout", 0.0),
        )
        lost = [*report["missing_keys"], *report["mismatched_keys"]]
        if lost:
            raise ValueError(f"the weights of {len(lost)} tensors are missing: {lost[0]}")
    config = DenoiserConfig(_plain(loaded.config), located.config["scheduler"], located.config["pipeline"])
    model = Denoiser.__new__(Denoiser)
    nn.Module.__init__(model)
    model.config, model.unet = config, _with_safe_norms(loaded)
    return model


def _with_safe_norms(network: nn.Module) -> nn.Module:
    """On a CPU (torch 2.13.0) the backward pass of a group norm ends the process where its weights train, its input
    needs no gradient, and that lies in memory with its channels last, as attentions give it: at the border of the
    frozen part. There, it is laid out anew."""

    def laid_out(norm: nn.Module, args: tuple[torch.Tensor, ...]) -> tuple[torch.Tensor, ...] | None:
        at_border = torch.is_grad_enabled() and not args[0].requires_grad and norm.weight.requires_grad
        return (args[0].contiguous(), *args[1:]) if at_border else None

    for module in network.modules():
        if isinstance(module, nn.GroupNorm) and module.weight is not None:
            module.register_forward_pre_hook(laid_out)
    return network


def _plain(config: Any) -> dict[str, Any]:
    """Of the configuration of diffusers, what makes the network; not where it was read from."""
    return {key: value for key, value in dict(config).items() if not key.startswith("_") or key == "_class_name"}


def _settle_classes(model: Denoiser, schema: Schema, located: LocatedModel, seed: int) -> tuple[set[str], list[str]]:
    """Gives the network a row of the embedding of classes for each label, or takes the embedding away; names of the
    tensors with new values, and lines for the log."""
    old = model.unet.class_embedding
    if not schema.labels:
        if old is None:
            return set(), []
        _embed(model, None)
        return set(), [
            f"the model's embeddings of {len(old.weight)} classes are left out: images are drawn of no class"
        ]
    known = _known_classes(located, 0 if old is None else len(old.weight))
    width = model.unet.time_embedding.linear_2.out_features
    generator = torch.Generator().manual_seed(seed)
    weight_CE = SPREAD_OF_NEW * torch.randn(len(schema.labels), width, generator=generator)
    found = [label for label in schema.labels if label in known]
    with torch.no_grad():
        for label in found:
            weight_CE[schema.labels.index(label)] = old.weight[known[label]]
    _embed(model, weight_CE)
    new = [label for label in schema.labels if label not in known]
    told = []
    if new:
        told.append(f"the embeddings of {len(new)} of {len(schema.labels)} classes are new: {', '.join(new[:10])}")
    if gone := [label for label in known if label not in schema.labels]:
        told.append(
            f"the model's embeddings of {len(gone)} classes that no row has are left out: {', '.join(gone[:10])}"
        )
    return ({f"{UNET}.{CLASS_EMBEDDING}"} if new else set()), told


def _embed(model: Denoiser, weight_CE: torch.Tensor | None) -> None:
    count = None if weight_CE is None else len(weight_CE)
    table = None if weight_CE is None else nn.Embedding(*weight_CE.shape, _weight=weight_CE)
    model.unet.class_embedding = table
    model.unet.register_to_config(num_class_embeds=count)
    config = model.config
    model.config = DenoiserConfig({**config.unet, "num_class_embeds": count}, config.scheduler, config.pipeline)


def _known_classes(located: LocatedModel, count: int) -> dict[str, int]:
    """The number of each class of the base by its name: tunewise's own models say it; of others the name is the
    number."""
    names = class_names(located.path)
    names = names if len(names) == count else [str(number) for number in range(count)]
    return {name: number for number, name in enumerate(names)}


def _check_finite(model: nn.Module, located: LocatedModel) -> None:
    for name, parameter in model.named_parameters():
        if not all_finite(parameter):
            raise ModelError(
                f"the weights hold NaN or infinity in {name}",
                where=str(located.path / UNET),
                fix="download the model again, or take another checkpoint",
            )


def _check_runs(model: Denoiser, shape: tuple[int, int, int], classes: bool, located: LocatedModel) -> None:
    """One pass over one image: the sides must be such that the network can halve and double them.

    Raises:
        ModelError: names the size, and what diffusers says.
    """
    label = torch.zeros(1, dtype=torch.int64) if classes else None
    model.eval()
    try:
        with torch.no_grad():
            given = model(torch.zeros(1, *shape), torch.zeros(1, dtype=torch.int64), label).shape[1:]
        said = "" if tuple(given) == shape else f"it gives {tuple(given)}"
    except (RuntimeError, ValueError, TypeError, IndexError) as problem:
        said = (str(problem).strip() or type(problem).__name__).splitlines()[0]
    if said:
        raise ModelError(
            f"the network cannot read images of {shape[2]}x{shape[1]} pixels, as its sample_size says: {said}",
            where=str(located.path / UNET),
            fix="set sample_size to the height (and width) of the images that it was trained on",
        )
