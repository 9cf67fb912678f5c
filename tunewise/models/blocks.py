"""Model -> ModelMap: what a model is made of, in execution order."""

from __future__ import annotations

import re
from collections.abc import Iterable
from fnmatch import fnmatchcase
from typing import TYPE_CHECKING

from tunewise.errors import ModelError
from tunewise.types import Block, Chain, ModelMap, TensorInfo, TensorKind

if TYPE_CHECKING:
    from torch import nn

# Tensors that stand after the blocks in registration order but feed every block.
EMBEDDING_AFTER_BLOCKS = {"deberta": ("*.encoder.LayerNorm.*", "*.encoder.rel_embeddings.*"),
                          "deberta-v2": ("*.encoder.LayerNorm.*", "*.encoder.rel_embeddings.*")}  # fmt: skip
ATTENTION = re.compile(r"attn|attention", re.IGNORECASE)
WRAPPED = ((".base_layer.", "."), (".modules_to_save.default.", "."), (".default.", "."))


def original_name(name: str) -> str:
    """The original model's name of a parameter, whatever peft or an insert has wrapped around it."""
    name = name.removeprefix("base_model.model.")
    for wrapped, plain in WRAPPED:
        name = name.replace(wrapped, plain)
    return name


def named_tensors(model: nn.Module) -> dict[str, nn.Parameter]:
    """All parameters by their original names; peft's spare copies of trained modules are left out."""
    return {
        original_name(name): parameter
        for name, parameter in model.named_parameters()
        if ".original_module." not in name
    }


def map_model(model: nn.Module, missing: Iterable[str] = ()) -> ModelMap:
    """Finds embedding, blocks and head of a transformers model.

    The blocks of a chain are the largest `nn.ModuleList` of modules of one class. What is registered before them
    belongs to the embedding, what comes after to the head.

    Args:
        model: a model with an output layer, as `AutoModelFor...` gives it, before anything is inserted.
        missing: names of tensors that the checkpoint does not hold.

    Raises:
        ModelError: no repeated blocks were found.
    """
    config = model.config
    stacks = _block_stacks(model, encoder_decoder=bool(getattr(config, "is_encoder_decoder", False)))
    if not stacks:
        raise ModelError(f"no repeated blocks were found in a '{config.model_type}' model",
                         fix="take a transformer encoder or decoder")  # fmt: skip
    missing = set(missing)
    infos = {
        name: TensorInfo(name, tuple(parameter.shape), "other", name not in missing)
        for name, parameter in model.named_parameters()
    }
    width = next(value for key in ("hidden_size", "d_model", "dim", "n_embd") if (value := getattr(config, key, None)))
    order = list(infos)
    in_blocks = {name for path, _ in stacks for name in order if name.startswith(f"{path}.")}
    late = EMBEDDING_AFTER_BLOCKS.get(config.model_type, ())

    chains, seen = [], 0
    for path, modules in stacks:
        first = next(number for number, name in enumerate(order) if name.startswith(f"{path}."))
        before = [name for name in order[seen:first] if name not in in_blocks]
        before += [name for name in order if any(fnmatchcase(name, pattern) for pattern in late)]
        seen = max(seen, first)
        blocks = tuple(
            _block(number, f"{path}.{number}", module, infos, width) for number, module in enumerate(modules)
        )
        chains.append(Chain(path, tuple(_with_kind(infos[name], "embedding") for name in before), blocks))
    taken = in_blocks | {tensor.name for chain in chains for tensor in chain.embedding}
    head = tuple(_with_kind(infos[name], "head") for name in order if name not in taken)
    return ModelMap(config.model_type, int(width), tuple(_renumbered(chains)), head)


def _block_stacks(model: nn.Module, encoder_decoder: bool) -> list[tuple[str, nn.ModuleList]]:
    """(path, ModuleList) of each chain: one, or one each in encoder and decoder."""
    from torch import nn

    lists = [
        (path, module)
        for path, module in model.named_modules()
        if isinstance(module, nn.ModuleList) and len(module) and len({type(child) for child in module}) == 1
    ]

    def largest(candidates: list[tuple[str, nn.ModuleList]]) -> list[tuple[str, nn.ModuleList]]:
        sized = [(sum(p.numel() for p in module.parameters()), path, module) for path, module in candidates]
        return [max(sized, key=lambda entry: entry[0])[1:]] if sized else []

    if not encoder_decoder:
        return largest(lists)
    halves = [[entry for entry in lists if f".{half}." in f".{entry[0]}."] for half in ("encoder", "decoder")]
    return [entry for half in halves for entry in largest(half)]


def _block(number: int, path: str, module: nn.Module, infos: dict[str, TensorInfo], width: int) -> Block:
    tensors = tuple(
        _with_kind(infos[f"{path}.{name}"], _kind(module, name)) for name, _ in module.named_parameters()
    )
    linear = [name for name, child in module.named_modules() if is_linear(child)]
    into_residual = [name for name in linear if _outputs(module.get_submodule(name)) == width]
    attention = [name for name in into_residual if ATTENTION.search(name)]
    feed_forward = [name for name in into_residual if not ATTENTION.search(name)]
    return Block(
        index=number,
        path=path,
        tensors=tensors,
        attention=tuple(f"{path}.{name}" for name in attention[-1:]),
        feed_forward=tuple(f"{path}.{name}" for name in feed_forward[-1:]),
        linear=tuple(f"{path}.{name}" for name in linear),
    )


def _kind(block: nn.Module, name: str) -> TensorKind:
    owner = block.get_submodule(name.rpartition(".")[0])
    if "norm" in type(owner).__name__.lower():
        return "norm"
    if name.endswith("bias"):
        return "bias"
    return "attention" if ATTENTION.search(name) else "feed_forward"


def is_linear(module: nn.Module) -> bool:
    """Whether a module is a linear layer: torch's, or GPT-2's Conv1D (which keeps its weight transposed)."""
    from torch import nn

    return isinstance(module, nn.Linear) or type(module).__name__ == "Conv1D"


def _outputs(module: nn.Module) -> int:
    return module.weight.shape[1] if type(module).__name__ == "Conv1D" else module.weight.shape[0]


def _with_kind(info: TensorInfo, kind: TensorKind) -> TensorInfo:
    return TensorInfo(info.name, info.shape, kind, info.pretrained)


def _renumbered(chains: list[Chain]) -> Iterable[Chain]:
    """Blocks numbered through all chains, in execution order."""
    start = 0
    for chain in chains:
        blocks = tuple(
            Block(start + block.index, block.path, block.tensors, block.attention, block.feed_forward, block.linear)
            for block in chain.blocks
        )
        yield Chain(chain.name, chain.embedding, blocks)
        start += len(blocks)
