"""Model -> ModelMap: what a model is made of, in execution order."""

from __future__ import annotations

import re
from collections.abc import Iterable
from dataclasses import replace
from fnmatch import fnmatchcase
from typing import TYPE_CHECKING, Any

from tunewise.errors import ModelError
from tunewise.models.image_parts import image_parts
from tunewise.models.located import family_of
from tunewise.types import Block, Chain, ModelMap, TensorInfo, TensorKind

if TYPE_CHECKING:
    from torch import nn

# Tensors registered after the blocks that feed them, and before the blocks though they come after.
EMBEDDING_AFTER_BLOCKS = ("*.rel_embeddings.*", "*.encoder.relative_attention_bias.*", "*.layernorm_embedding.*")
EMBEDDING_AFTER_BLOCKS_IN = {
    "deberta": ("*.encoder.LayerNorm.*",),  # the norm of rel_embeddings
    "deberta-v2": ("*.encoder.LayerNorm.*", "*.encoder.conv.*"),  # conv feeds all blocks but the first
}
HEAD_BEFORE_BLOCKS = ("*.pooler.*",)
HEAD_BEFORE_BLOCKS_IN = {"opt": ("*.decoder.final_layer_norm.*", "*.decoder.project_out.*")}
WIDTHS = ("hidden_size", "d_model", "dim", "n_embd")
ATTENTION = re.compile(r"attn|attention", re.IGNORECASE)
WRAPPED = ((".base_layer.", "."), (".modules_to_save.default.", "."), (".default.", "."))


def original_name(name: str) -> str:
    """The original model's name of a parameter, whatever peft or an insert has wrapped around it."""
    name = name.removeprefix("base_model.model.")
    for wrapped, plain in WRAPPED:
        name = name.replace(wrapped, plain)
    return name.removesuffix(".default")


def named_tensors(model: nn.Module) -> dict[str, nn.Parameter]:
    """All parameters by their original names; peft's spare copies of trained modules are left out."""
    return {
        original_name(name): parameter
        for name, parameter in model.named_parameters()
        if ".original_module." not in name
    }


def map_model(model: nn.Module, missing: Iterable[str] = ()) -> ModelMap:
    """Finds embedding, blocks and head of a transformers model.

    The blocks of a chain are the largest `nn.ModuleList` of modules of one class. What is registered before the blocks
    belongs to the embedding, what comes after to the head, but for the exceptions at the top of this file. A model for
    images is taken apart by `image_parts`: its blocks are the layers of all its stages, what halves the image between
    them, and convolutions behind them.

    Args:
        model: a model with an output layer, as `AutoModelFor...` gives it, before anything is inserted.
        missing: names of tensors that the checkpoint does not hold.

    Raises:
        ModelError: no repeated blocks were found, or their parts lie in separate lists.
    """
    config = model.config
    if model.main_input_name == "pixel_values":
        return _map_image_model(model, set(missing))
    stacks = _block_stacks(model, encoder_decoder=bool(getattr(config, "is_encoder_decoder", False)))
    if not stacks:
        raise ModelError(
            f"no repeated blocks were found in a '{config.model_type}' model",
            fix="take a transformer encoder or decoder, or a convolutional net made of stages",
        )
    missing = set(missing)
    infos = {
        name: TensorInfo(name, tuple(parameter.shape), "other", name not in missing)
        for name, parameter in model.named_parameters()
    }
    order = list(infos)
    in_blocks = {name for path, _ in stacks for name in order if name.startswith(f"{path}.")}
    late = EMBEDDING_AFTER_BLOCKS + EMBEDDING_AFTER_BLOCKS_IN.get(config.model_type, ())
    displaced = [name for name in order if name not in in_blocks and _any_match(name, late)]
    early = HEAD_BEFORE_BLOCKS + HEAD_BEFORE_BLOCKS_IN.get(config.model_type, ())
    # XLM-RoBERTa's output layer is registered before everything else: what is outside of the base model is the head's.
    base = f"{model.base_model_prefix}." if hasattr(model, model.base_model_prefix) else ""
    ahead = [name for name in order if _any_match(name, early) or not name.startswith(base)]
    apart = {*in_blocks, *displaced, *ahead}
    width = _width(config)

    chains, seen = [], 0
    for path, modules in stacks:
        first = next(number for number, name in enumerate(order) if name.startswith(f"{path}."))
        before = [name for name in order[seen:first] if name not in apart]
        half = path.rpartition(".")[0]
        before += [name for name in displaced if name.startswith(f"{half}.")]
        seen = max(seen, first)
        blocks = tuple(
            _block(number, place, module, infos, width)
            for number, (place, module) in enumerate((f"{path}.{n}", module) for n, module in enumerate(modules))
        )
        embedding = tuple(
            _with_kind(infos[name], "norm" if _is_norm(_owner(model, name)) else "embedding") for name in before
        )
        chains.append(Chain(path, embedding, blocks))
    taken = in_blocks | {tensor.name for chain in chains for tensor in chain.embedding}
    head = tuple(_with_kind(infos[name], "head") for name in order if name not in taken)
    return ModelMap(
        family=config.model_type,
        width=width,
        chains=tuple(_renumbered(chains)),
        head=head,
        input_embedding=_input_embedding(model),
    )


def _map_image_model(model: nn.Module, missing: set[str]) -> ModelMap:
    parts = image_parts(model)
    infos = {
        name: TensorInfo(name, tuple(parameter.shape), "other", name not in missing)
        for name, parameter in model.named_parameters()
    }
    blocks = tuple(
        _with_maps(_block(number, part.path, part.module, infos, part.width), parts.maps)
        for number, part in enumerate(parts.blocks)
    )
    head = [name for name in infos if any(name.startswith(f"{part.path}.") for part in parts.head)]
    taken = {*head, *(tensor.name for block in blocks for tensor in block.tensors)}
    embedding = tuple(
        _with_kind(infos[name], "norm" if _is_norm(_owner(model, name)) else "embedding")
        for name in infos
        if name not in taken
    )
    return ModelMap(
        family=family_of(model.config.to_dict()),
        width=parts.blocks[-1].width,
        chains=(Chain(parts.chain, embedding, blocks),),
        head=tuple(_with_kind(infos[name], "head") for name in head),
        modality="image",
        input_embedding=_input_embedding(model),
    )


def _with_maps(block: Block, maps: frozenset[str]) -> Block:
    return replace(block, maps=tuple(path for path in block.linear if path in maps))


def _input_embedding(model: nn.Module) -> str:
    try:
        embedding = model.get_input_embeddings()
    except NotImplementedError:  # convolutional nets of transformers do not name theirs
        embedding = None
    if embedding is None:
        embedding = next(module for module in model.modules() if is_convolution(module))
    return next(path for path, module in model.named_modules() if module is embedding)


def _width(config: Any) -> int:
    """What the head reads."""
    width = next((value for key in WIDTHS if (value := getattr(config, key, None))), None)
    if width is None:
        raise ModelError(
            f"the configuration of a '{config.model_type}' model does not say how wide it is",
            fix=f"take a model with one of {', '.join(WIDTHS)} in its config.json",
        )
    return int(width)


def _any_match(name: str, patterns: tuple[str, ...]) -> bool:
    return any(fnmatchcase(name, pattern) for pattern in patterns)


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
        if not sized:
            return []
        _, path, module = max(sized, key=lambda entry: entry[0])
        beside = [other for other, _ in lists if other.rpartition(".")[0] == path.rpartition(".")[0] and other != path]
        if any(len(model.get_submodule(other)) == len(module) > 1 for other in beside):
            raise ModelError(
                f"the parts of a block lie in separate lists in a '{model.config.model_type}' model "
                f"({path}, {', '.join(beside)})",
                fix="take another architecture",
            )
        return [(path, module)]

    if not encoder_decoder:
        return largest(lists)
    halves = [[entry for entry in lists if f".{half}." in f".{entry[0]}."] for half in ("encoder", "decoder")]
    return [entry for half in halves for entry in largest(half)]


def _block(number: int, path: str, module: nn.Module, infos: dict[str, TensorInfo], width: int) -> Block:
    tensors = tuple(_with_kind(infos[f"{path}.{name}"], _kind(module, name)) for name, _ in module.named_parameters())
    linear = [name for name, child in module.named_modules() if is_linear(child)]
    conv = [name for name, child in module.named_modules() if is_convolution(child)]
    into_residual = [name for name in linear if _outputs(module.get_submodule(name)) == width]
    # The last projection of each attention: a decoder's block has two, to itself and to the encoder.
    attention = {_attention_of(name): name for name in into_residual if ATTENTION.search(name)}.values()
    feed_forward = [name for name in into_residual if not ATTENTION.search(name)]

    def paths(names: Iterable[str]) -> tuple[str, ...]:
        return tuple(f"{path}.{name}".removesuffix(".") for name in names)  # a block can be a layer itself

    return Block(
        index=number,
        path=path,
        tensors=tensors,
        attention=paths(attention),
        feed_forward=paths(feed_forward[-1:]),
        linear=paths(linear),
        conv=paths(conv),
        grouped=paths(name for name in conv if module.get_submodule(name).groups > 1),
    )


def _attention_of(name: str) -> str:
    """The path of a module, up to the outermost attention that it is in."""
    parts = name.split(".")
    depth = next(place for place, part in enumerate(parts) if ATTENTION.search(part))
    return ".".join(parts[: depth + 1])


def _kind(block: nn.Module, name: str) -> TensorKind:
    owner = _owner(block, name)
    if _is_norm(owner):
        return "norm"
    if name.endswith("bias"):
        return "bias"
    if is_convolution(owner):
        return "conv"
    if block.get_parameter(name).ndim == 1:  # a scale of its own: ConvNeXt's and DINOv2's layer scale
        return "other"
    return "attention" if ATTENTION.search(name) else "feed_forward"


def _owner(model: nn.Module, name: str) -> nn.Module:
    return model.get_submodule(name.rpartition(".")[0])


def _is_norm(module: nn.Module) -> bool:
    return "norm" in type(module).__name__.lower()


def is_linear(module: nn.Module) -> bool:
    """Whether a module is a linear layer: torch's, or GPT-2's Conv1D (which keeps its weight transposed)."""
    from torch import nn

    return isinstance(module, nn.Linear) or type(module).__name__ == "Conv1D"


def is_convolution(module: nn.Module) -> bool:
    from torch.nn.modules.conv import _ConvNd

    return isinstance(module, _ConvNd)


def _outputs(module: nn.Module) -> int:
    return module.weight.shape[1] if type(module).__name__ == "Conv1D" else module.weight.shape[0]


def _with_kind(info: TensorInfo, kind: TensorKind) -> TensorInfo:
    return TensorInfo(info.name, info.shape, kind, info.pretrained)


def _renumbered(chains: list[Chain]) -> Iterable[Chain]:
    """Blocks numbered through all chains, in execution order."""
    start = 0
    for chain in chains:
        blocks = tuple(replace(block, index=start + block.index) for block in chain.blocks)
        yield Chain(chain.name, chain.embedding, blocks)
        start += len(blocks)
