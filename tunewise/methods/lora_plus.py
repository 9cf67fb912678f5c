"""LoRA+: LoRA whose two factors train at different rates."""

from __future__ import annotations

from pydantic import Field

from tunewise.methods.lora import Lora, LoraConfig
from tunewise.types import ModelMap, Rule


class LoraPlusConfig(LoraConfig):
    ratio: float = Field(default=16.0, ge=1)
    """The rate of B divided by that of A; 1 is LoRA. 16 for tasks far from pretraining, 2 to 4 for easy ones."""

    head_rate: float = Field(default=4.0, gt=0)
    """Factor on the learning rate of the output layers; 4 gives them LoRA's."""


class LoraPlus(Lora):
    """As LoRA, with rate(B) = ratio x rate(A): in a wide model B, which starts at zero, must move faster than A for
    both to learn features. `learning_rate` is that of A."""

    name = "lora_plus"
    group = "low-rank and multiplicative"
    trains = "low-rank updates of linear layers, their second factor faster, and the output layers"
    source = "Hayou, Ghosh, Yu 2024, LoRA+: Efficient Low Rank Adaptation of Large Models"
    instead = "lora"
    Config = LoraPlusConfig

    def rules(self) -> tuple[Rule, ...]:
        return (Rule("*.lora_A.*"), Rule("*.lora_B.*", self.config.ratio))

    @classmethod
    def default_learning_rate(cls, model: ModelMap) -> float:
        """A quarter of LoRA's: at the ratio of 16, the rates of A and B then lie as far below and above LoRA's."""
        return super().default_learning_rate(model) / 4
