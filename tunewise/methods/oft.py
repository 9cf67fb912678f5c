"""OFT: rotations of the inputs of frozen linear layers."""

from __future__ import annotations

from typing import Any

from pydantic import Field

from tunewise.methods.peft_layers import MergeConfig, PeftLayers, TargetsConfig
from tunewise.types import ModelMap, Rule

# Their linear layers are Conv1D, with the weight transposed: peft's OFT does not take it.
TRANSPOSED = ("gpt2", "openai-gpt", "imagegpt", "decision_transformer")


class OftConfig(MergeConfig, TargetsConfig):
    block_size: int = Field(default=32, ge=2)
    """Size b of the blocks of a rotation; of a layer whose input b does not divide, the nearest size that does."""

    terms: int | None = Field(default=None, ge=2)
    """Terms of the series that replaces the matrix inverse in R: faster on a GPU, not quite a rotation (OFTv2: 5).
    Where left out: the inverse itself."""

    head_rate: float = Field(default=2.0, gt=0)
    """Factor on the learning rate of the output layers; 2 gives them LoRA's."""


class Oft(PeftLayers):
    """y = W R x, with R a rotation made of blocks (b x b): R = (I - Q)(I + Q)^-1 with Q = -Q', zero at the start (the
    Cayley transform). Lengths of inputs and the angles between them stay."""

    name = "oft"
    group = "low-rank and multiplicative"
    trains = "rotations of the inputs of linear layers, and the output layers"
    source = "Qiu et al. 2023, Controlling Text-to-Image Diffusion by Orthogonal Finetuning; Qiu et al. 2025 (OFTv2)"
    peft_config = "OFTConfig"
    instead = "lora"
    Config = OftConfig

    def options(self, model: ModelMap) -> dict[str, Any]:
        if model.family in TRANSPOSED:
            self.refuse(f"peft cannot rotate the linear layers of a '{model.family}' model, which are of another kind")
        if any(block.maps for block in model.blocks):
            self.refuse(f"peft rotates rows of tokens, and linear layers of a '{model.family}' model read whole images")
        terms = self.config.terms
        return {
            "oft_block_size": self.config.block_size,
            "use_cayley_neumann": terms is not None,
            **({"num_cayley_neumann_terms": terms} if terms else {}),
        }

    def rules(self) -> tuple[Rule, ...]:
        return (Rule("*.oft_R.*"),)

    @classmethod
    def default_learning_rate(cls, model: ModelMap) -> float:
        """Half of LoRA's (2.5e-4 at a width of 768): every number turns a whole plane of a block."""
        return min(1e-3, 2.5e-4 * 768 / model.width)
