"""PiSSA: LoRA that starts from the principal singular vectors of the weights."""

from __future__ import annotations

from typing import Any

from pydantic import Field

from tunewise.methods.lora import Lora, LoraConfig
from tunewise.types import ModelMap, Rule


class PissaConfig(LoraConfig):
    alpha: float | None = Field(default=None, gt=0)
    """Scale: the product B A is multiplied by alpha / r. Where left out: alpha = r, a scale of 1."""

    head_rate: float = Field(default=2.5, gt=0)
    """Factor on the learning rate of the output layers; 2.5 gives them LoRA's."""

    iterations: int | None = Field(default=None, ge=1)
    """Iterations of a fast, randomised singular value decomposition (the paper: 1 to 16). Where left out: exact."""


class Pissa(Lora):
    """W = U S V', of which A = sqrt(S_r) V_r' and B = U_r sqrt(S_r) train; the residual W - (alpha / r) B A is frozen.
    The PEFT folder holds the difference to the start, (B A - B0 A0), as a LoRA of rank 2r on the original weights."""

    name = "pissa"
    group = "low-rank and multiplicative"
    trains = "the principal singular directions of linear layers, and the output layers"
    source = "Meng, Wang, Zhang 2024, PiSSA: Principal Singular Values and Singular Vectors Adaptation"
    instead = "lora"
    convolutions = False
    splits_base = True
    Config = PissaConfig

    def options(self, model: ModelMap) -> dict[str, Any]:
        rank, shapes = self.config.rank, {tensor.name: tensor.shape for tensor in model.tensors}
        smallest = min(min(shapes[f"{path}.weight"]) for path in self.layers(model))
        if rank > smallest:
            self.refuse(f"rank is {rank}, but the smallest layer has {smallest} singular values")
        iterations = self.config.iterations
        return {
            **super().options(model),
            "lora_alpha": self.config.alpha or float(rank),
            "use_rslora": False,
            "init_lora_weights": f"pissa_niter_{iterations}" if iterations else "pissa",
        }

    def rules(self) -> tuple[Rule, ...]:
        # A and B hold a part of the pretrained weights, which decay would wear away.
        return (Rule("*.lora_?.*", weight_decay=0.0),)

    @classmethod
    def default_learning_rate(cls, model: ModelMap) -> float:
        """2/5 of LoRA's: both factors start large, so that the same step moves their product further."""
        return super().default_learning_rate(model) * 2 / 5
