"""The ModelMap of a network that predicts noise: down blocks, middle block, up blocks, as they run."""

from __future__ import annotations

from collections.abc import Collection
from typing import TYPE_CHECKING

from tunewise.models.blocks import is_convolution, is_linear
from tunewise.models.pipeline_folder import FAMILY
from tunewise.types import Block, Chain, ModelMap, TensorInfo, TensorKind

if TYPE_CHECKING:
    from torch import nn

ATTENTIONS, CLOSES = ".attentions.", "to_out.0"
CLASS_EMBEDDING = "class_embedding.weight"


def map_unet(model: nn.Module, unet: str, drawn: Collection[str] = ()) -> ModelMap:
    """Embedding: the first convolution, what embeds timesteps and classes. Head: the last norm and convolution, which
    are pretrained. Each timestep enters every block, and what a down block gives enters an up block too.

    Args:
        unet: the name of the network in `model`.
        drawn: names of tensors whose values are new.
    """
    network = model.get_submodule(unet)
    infos = {
        name: TensorInfo(name, tuple(tensor.shape), "other", name not in drawn)
        for name, tensor in model.named_parameters()
        if tensor.requires_grad  # random Fourier features of timesteps are made never to train
    }
    paths = [f"{unet}.down_blocks.{n}" for n in range(len(network.down_blocks))]
    paths += [f"{unet}.mid_block"] if network.mid_block is not None else []
    paths += [f"{unet}.up_blocks.{n}" for n in range(len(network.up_blocks))]
    blocks = tuple(_block(number, path, model, infos) for number, path in enumerate(paths))
    head = [name for name in infos if name.startswith((f"{unet}.conv_norm_out.", f"{unet}.conv_out."))]
    taken = {*head, *(tensor.name for block in blocks for tensor in block.tensors)}
    embedding = tuple(_with(info, "embedding") for name, info in infos.items() if name not in taken)
    return ModelMap(
        family=FAMILY,
        width=max(network.config.block_out_channels),
        chains=(Chain(unet, embedding, blocks),),
        head=tuple(_with(infos[name], "head") for name in head),
        modality="image",
        input_embedding=f"{unet}.conv_in",
        keeps_head=True,
    )


def _block(number: int, path: str, model: nn.Module, infos: dict[str, TensorInfo]) -> Block:
    """`linear` are the projections of attentions; the layers that read the vector of the timestep, one for each image,
    are no part of it."""
    inside = {f"{path}.{name}": module for name, module in model.get_submodule(path).named_modules() if name}
    linear = tuple(name for name, module in inside.items() if is_linear(module) and ATTENTIONS in name)
    return Block(
        index=number,
        path=path,
        tensors=tuple(
            _with(info, _kind(name, inside[name.rpartition(".")[0]]))
            for name, info in infos.items()
            if name.startswith(f"{path}.")
        ),
        attention=tuple(name for name in linear if name.endswith(f".{CLOSES}")),
        linear=linear,
        conv=tuple(name for name, module in inside.items() if is_convolution(module)),
    )


def _kind(name: str, owner: nn.Module) -> TensorKind:
    if "norm" in type(owner).__name__.lower():
        return "norm"
    if name.endswith(".bias"):
        return "bias"
    if is_convolution(owner):
        return "conv"
    return "attention" if ATTENTIONS in name else "other"


def _with(info: TensorInfo, kind: TensorKind) -> TensorInfo:
    return TensorInfo(info.name, info.shape, kind, info.pretrained)
