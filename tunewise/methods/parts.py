"""Parts of a model as rules: output layers, blocks, halves of blocks; and which blocks an option means."""

from __future__ import annotations

import math
from collections.abc import Iterable
from typing import Literal

from pydantic import Field

from tunewise.errors import MethodError
from tunewise.methods.base import Method, MethodConfig
from tunewise.types import Block, ModelMap, Rule, TensorInfo, TensorKind


class HeadRateConfig(MethodConfig):
    """Options of methods that train output layers and pretrained layers together."""

    head_rate: float = Field(default=10.0, gt=0)
    """Factor on the learning rate of the output layers: of all that the method `head` trains. The last of them starts
    from random values, and with many classes and few steps the rate that is safe for the rest is too low for it. 1 is
    the textbook's method."""


class BlockChoiceConfig(HeadRateConfig):
    """Options of methods that train some of the blocks."""

    blocks: Literal["all", "first", "middle", "last"] | list[int] = Field(default="all", min_length=1)
    """Which blocks: all, the first, middle or last `count`, or a list of numbers. The lowest block is 0; those of a
    decoder are numbered on from the encoder's."""

    count: int | None = Field(default=None, ge=1)
    """How many blocks, for first, middle and last. Where left out: a third of them, rounded up."""


def tensor_rules(tensors: Iterable[TensorInfo], lr_scale: float = 1.0) -> tuple[Rule, ...]:
    return tuple(Rule(tensor.name, lr_scale) for tensor in tensors)


def head_rules(model: ModelMap, head_rate: float = 1.0) -> tuple[Rule, ...]:
    """The output layers: what comes after the last block, be it new or pretrained. A language model's are pretrained
    and train at the rate of the rest; so are those of a model that draws images, with the embeddings of new classes."""
    return (*tensor_rules(model.head, 1.0 if model.has_pretrained_head else head_rate), *_drawn_rules(model))


def refuse_without_head(method: Method, model: ModelMap) -> None:
    """For methods that train the output layers alone at first.

    Raises:
        MethodError: the model has none besides its embedding.
    """
    if not model.head:
        method.refuse(
            f"the output layer of this '{model.family}' model is its embedding, and nothing else comes after the last "
            "block"
        )


def new_head_rules(model: ModelMap, head_rate: float = 1.0) -> tuple[Rule, ...]:
    """The same for methods that leave what is pretrained alone, and train the output layers because they are new: none
    of a language model; of one that draws images the embeddings of new classes."""
    return _drawn_rules(model) if model.has_pretrained_head else tensor_rules(model.head, head_rate)


def _drawn_rules(model: ModelMap) -> tuple[Rule, ...]:
    """Where the head is kept, the tensors outside of it that begin with random values."""
    drawn = [tensor for tensor in model.embedding if not tensor.pretrained]
    return tensor_rules(drawn) if model.keeps_head else ()


def block_rules(blocks: Iterable[Block], lr_scale: float = 1.0) -> tuple[Rule, ...]:
    """All tensors of blocks. The dot keeps `layer.1.` from meaning `layer.11.` too."""
    return tuple(Rule(f"{block.path}.*", lr_scale) for block in blocks)


def all_rules(model: ModelMap, head_rate: float = 1.0) -> tuple[Rule, ...]:
    """Every tensor, each by one rule."""
    return (*head_rules(model, head_rate), *block_rules(model.blocks), *tensor_rules(model.embedding))


def vector_learning_rate(model: ModelMap) -> float:
    """For methods that train vectors only: 1e-3 (768 / width), at most 3e-3."""
    return min(3e-3, 1e-3 * 768 / model.width)


def half_of(tensor: TensorInfo, block: Block) -> TensorKind | None:
    """Which half of its block a bias or norm serves: the one kind of the weights in the innermost module around it that
    has any; None where they are of several kinds."""
    kinds: set[TensorKind] = set()
    module = tensor.name
    while not kinds and module != block.path:
        module = module.rpartition(".")[0]
        weights = (other for other in block.tensors if other.name.startswith(f"{module}."))
        kinds = {weight.kind for weight in weights} - {"bias", "norm", "other"}
    return kinds.pop() if len(kinds) == 1 else None


def half_tensors(block: Block, half: TensorKind) -> tuple[TensorInfo, ...]:
    """Weights and biases of one half of a block, without its norms."""
    return tuple(
        tensor
        for tensor in block.tensors
        if tensor.kind == half or (tensor.kind == "bias" and half_of(tensor, block) == half)
    )


def wanted_blocks(method: str, config: BlockChoiceConfig, model: ModelMap) -> tuple[Block, ...]:
    """The blocks that the options mean, the lowest first.

    Raises:
        MethodError: the model has not so many blocks, or `count` says nothing.
    """
    blocks, depth = model.blocks, len(model.blocks)
    if config.blocks in ("first", "middle", "last"):
        count = config.count or math.ceil(depth / 3)
        if count > depth:
            raise MethodError(
                f"{method}: count is {count}, but the model has {depth} blocks", fix=f"set count between 1 and {depth}"
            )
        start = {"first": 0, "middle": (depth - count) // 2, "last": depth - count}[config.blocks]
        return blocks[start : start + count]
    if config.count is not None:
        raise MethodError(
            f"{method}: count is {config.count}, but blocks already says which: {config.blocks}",
            fix="remove count, or set blocks to first, middle or last",
        )
    if config.blocks == "all":
        return blocks
    if wrong := [number for number in config.blocks if not 0 <= number < depth]:
        raise MethodError(
            f"{method}: there is no block {wrong[0]}; the model has {depth}", fix=f"take numbers from 0 to {depth - 1}"
        )
    return tuple(blocks[number] for number in sorted(set(config.blocks)))
