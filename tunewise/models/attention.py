"""The attention of a model: its shape on the data of a run, and which implementation computes it."""

from __future__ import annotations

from dataclasses import dataclass
from typing import TYPE_CHECKING, Any

from tunewise.models.located import LocatedModel
from tunewise.types import DataBundle

if TYPE_CHECKING:
    from torch import nn

CHARACTERS_PER_TOKEN = 4
SHORTEST, LONGEST = 16, 512
HEADS = ("num_attention_heads", "n_heads", "n_head", "num_heads", "encoder_attention_heads")
WIDTH = ("hidden_size", "d_model", "n_embd", "dim")
HEAD_WIDTH = ("head_dim", "d_kv")  # where it is not the width divided by the heads
DROPOUT = ("attention_probs_dropout_prob", "attention_dropout", "attn_pdrop", "dropout_rate")


@dataclass(frozen=True)
class AttentionShape:
    """What decides which implementation is the fastest. `tokens` of a typical row, rounded up to a power of two so that
    runs on similar data decide alike; `drops` tells whether weights are dropped in training."""

    heads: int
    head_width: int
    tokens: int
    drops: bool

    @property
    def width(self) -> int:
        """Of what all heads read."""
        return self.heads * self.head_width


def attention_of(
    located: LocatedModel, data: DataBundle, dropout: float | None, max_length: int | None
) -> AttentionShape | None:
    """The shape for the training rows, told from the model's config.json and the length of the texts; None for models
    without attention, and for images.

    Args:
        dropout, max_length: the recipe's, None for the model's own.
    """
    heads, width = _first(located.config, HEADS), _first(located.config, WIDTH)
    texts = data.splits["train"].texts
    if not data.schema.text or not isinstance(heads, int) or not isinstance(width, int) or not 0 < heads <= width:
        return None
    head_width = _first(located.config, HEAD_WIDTH) or width // heads
    characters = sum(len(part) for row in texts for part in row) / len(texts)
    longest = min(LONGEST, max_length or LONGEST)
    tokens = min(longest, max(SHORTEST, 2 ** (round(characters / CHARACTERS_PER_TOKEN) - 1).bit_length()))
    drops = dropout if dropout is not None else _first(located.config, DROPOUT)
    return AttentionShape(heads, head_width, tokens, bool(drops))


def use_attention(model: nn.Module, name: str, instead_of: str) -> bool:
    """Lets a model compute attention by another implementation of transformers, and tells whether it does. Left as it
    is where its family has no choice, and where a method has put in its own attention."""
    from transformers import PreTrainedModel

    inner = next((module for module in model.modules() if isinstance(module, PreTrainedModel)), None)
    if inner is None or inner.config._attn_implementation != instead_of or not inner._can_set_attn_implementation():
        return False
    try:
        inner.set_attn_implementation(name)
    except (ValueError, ImportError):  # its class says that it does not support it
        return False
    return True


def _first(config: dict[str, Any], names: tuple[str, ...]) -> Any:
    return next((config[name] for name in names if config.get(name) is not None), None)
