"""What a model is made of, as data."""

from __future__ import annotations

from dataclasses import dataclass
from typing import Literal

TensorKind = Literal["embedding", "attention", "feed_forward", "conv", "norm", "bias", "head", "other"]


@dataclass(frozen=True)
class TensorInfo:
    """A parameter under the original model's name; `pretrained` is False where the checkpoint does not hold it."""

    name: str
    shape: tuple[int, ...]
    kind: TensorKind
    pretrained: bool = True

    @property
    def size(self) -> int:
        total = 1
        for length in self.shape:
            total *= length
        return total


@dataclass(frozen=True)
class Block:
    """One of the repeated layers. `attention` and `feed_forward` are the paths of the modules that close each half
    (the projections whose output goes into the residual sum), `linear` those of all linear modules, `conv` those of all
    convolutions, `grouped` those of convolutions whose channels do not all see each other (depthwise ones are the
    extreme), `maps` those of linear layers that read whole images instead of a row of tokens. A block made of
    convolutions has no halves."""

    index: int
    path: str
    tensors: tuple[TensorInfo, ...]
    attention: tuple[str, ...] = ()
    feed_forward: tuple[str, ...] = ()
    linear: tuple[str, ...] = ()
    conv: tuple[str, ...] = ()
    grouped: tuple[str, ...] = ()
    maps: tuple[str, ...] = ()


@dataclass(frozen=True)
class Chain:
    """A stack of blocks in execution order, with what comes before it."""

    name: str
    embedding: tuple[TensorInfo, ...]
    blocks: tuple[Block, ...]


@dataclass(frozen=True)
class ModelMap:
    """What a model is made of, in execution order. Made by `models.blocks.map_model`."""

    family: str
    width: int
    chains: tuple[Chain, ...]
    head: tuple[TensorInfo, ...]
    modality: Literal["text", "image"] = "text"
    input_embedding: str = ""
    """Path of the module that turns token ids (or patches of pixels) into vectors: of a convolutional net, its first
    convolution."""
    language: bool = False
    """Whether the head is a pretrained one that gives the next token."""
    keeps_head: bool = False
    """Whether the head is pretrained and kept, in a model that does not give the next token."""

    @property
    def has_pretrained_head(self) -> bool:
        """Whether what comes after the last block is pretrained as all else is; of other models it begins with random
        values."""
        return self.language or self.keeps_head

    @property
    def blocks(self) -> tuple[Block, ...]:
        """All blocks, bottom first."""
        return tuple(block for chain in self.chains for block in chain.blocks)

    @property
    def embedding(self) -> tuple[TensorInfo, ...]:
        return tuple(tensor for chain in self.chains for tensor in chain.embedding)

    @property
    def groups(self) -> tuple[tuple[TensorInfo, ...], ...]:
        """Embedding, each block, head: every tensor is in exactly one group."""
        return (self.embedding, *(block.tensors for block in self.blocks), self.head)

    @property
    def tensors(self) -> tuple[TensorInfo, ...]:
        return tuple(tensor for group in self.groups for tensor in group)
