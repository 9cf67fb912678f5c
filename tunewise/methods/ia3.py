"""(IA)^3: vectors that scale keys, values and the inner activations of feed-forward layers."""

from __future__ import annotations

import re
from typing import Any

from pydantic import Field

from tunewise.methods.peft_layers import MergeConfig, PeftLayers
from tunewise.types import Block, ModelMap, Rule

# Last parts of the names of layers that make keys and values, alone or together with the queries.
KEYS_AND_VALUES = re.compile(r"(k|key|v|value)(_?(proj|lin))?")
WITH_QUERIES = re.compile(r"Wqkv|qkv(_proj)?|c_attn|query_key_value|in_proj")


class Ia3Config(MergeConfig):
    head_rate: float = Field(default=0.1, gt=0)
    """Factor on the learning rate of the output layers: that of the vectors is too high for matrices. 0.1 gives them
    LoRA's."""


class Ia3(PeftLayers):
    """Keys, values: y = l * (W x); the layer that closes the feed-forward half: y = W (l * x); all l start as 1. Where
    one layer makes queries, keys and values (GPT-2, ModernBERT), all three are scaled; in a convolutional net the
    channels that each convolution puts out."""

    name = "ia3"
    group = "low-rank and multiplicative"
    trains = "vectors that scale keys, values and feed-forward activations, and the output layers"
    source = "Liu et al. 2022, Few-Shot Parameter-Efficient Fine-Tuning is Better and Cheaper (T-Few)"
    peft_config = "IA3Config"
    instead = "lora"
    convolutions = True
    Config = Ia3Config

    def options(self, model: ModelMap) -> dict[str, Any]:
        return {"feedforward_modules": [path for block in model.blocks for path in block.feed_forward]}

    def layers(self, model: ModelMap) -> list[str]:
        linear = any(block.linear for block in model.blocks)
        chosen = [path for block in model.blocks for path in (self._scaled(block) if linear else block.conv)]
        if not any(_makes_values(path) for path in chosen) and any(block.attention for block in model.blocks):
            self.refuse(f"cannot tell which layers of a '{model.family}' model make keys and values")
        return chosen

    def _scaled(self, block: Block) -> list[str]:
        return [path for path in block.linear if _makes_values(path) or path in block.feed_forward]

    def rules(self) -> tuple[Rule, ...]:
        # Decay would draw the factors to 0, not to the 1 they start from.
        return (Rule("*.ia3_l", weight_decay=0.0),)

    @classmethod
    def default_learning_rate(cls, model: ModelMap) -> float:
        """5e-3 (768 / width), at most 1e-2: a step changes a factor by half a percent or one (T-Few: 3e-3; 1e-3 and
        less is too slow)."""
        return min(1e-2, 5e-3 * 768 / model.width)


def _makes_values(path: str) -> bool:
    name = path.rpartition(".")[2]
    return bool(KEYS_AND_VALUES.fullmatch(name) or WITH_QUERIES.fullmatch(name))
