"""Bottleneck adapters: small networks inside each block; our own, since peft has none."""

from __future__ import annotations

from typing import TYPE_CHECKING, Literal

from pydantic import Field

from tunewise.methods.base import Method, MethodConfig
from tunewise.types import ModelMap, ModuleInsert, Plan, Rule, Signals

if TYPE_CHECKING:
    from torch import nn


class AdapterConfig(MethodConfig):
    size: int | None = Field(default=None, ge=1)
    """Width m of the bottleneck. Where left out: the model's width divided by 8."""

    placement: Literal["both", "feed-forward"] = "both"
    """After attention and feed-forward (Houlsby), or after feed-forward only (Pfeiffer)."""

    activation: Literal["gelu", "relu"] = "gelu"
    """Non-linearity in the bottleneck."""

    norms: bool = True
    """Train the blocks' norms too (Houlsby)."""


class Adapter(Method):
    """h + up(act(down(h))) on the output h of each half of a block, before it is added to the residual; down (m x d)
    is small and random, up (d x m) zero, so that the model starts unchanged."""

    name = "adapter"
    trains = "bottlenecks after attention and feed-forward, norms, and the output layers"
    source = "Houlsby et al. 2019, Parameter-Efficient Transfer Learning for NLP; Pfeiffer et al. 2021, AdapterFusion"
    handover = "tunewise"
    instead = "lora"
    Config = AdapterConfig

    def plan(self, model: ModelMap, signals: Signals) -> Plan:
        halves = ("attention", "feed_forward") if self.config.placement == "both" else ("feed_forward",)
        where = []
        for half in halves:
            ends = [path for block in model.blocks for path in getattr(block, half)]
            if not ends:
                self.refuse(f"cannot tell where the {half.replace('_', '-')} of a '{model.family}' model's block ends")
            where += ends
        insert = ModuleInsert(
            build="tunewise.methods.adapter:with_bottleneck",
            where=tuple(sorted(where)),
            options={"size": self.config.size or max(1, model.width // 8), "activation": self.config.activation},
        )
        rules = [Rule("*.adapter_down.*"), Rule("*.adapter_up.*")]
        rules += [Rule(tensor.name) for tensor in model.head]
        if self.config.norms:
            rules += [Rule(t.name) for block in model.blocks for t in block.tensors if t.kind == "norm"]
        return Plan(rules=tuple(rules), learning_rate=self.learning_rate(model), inserts=(insert,))

    @classmethod
    def default_learning_rate(cls, model: ModelMap) -> float:
        """10x that of full fine-tuning (Houlsby: 3e-4 at a width of 1024)."""
        return 10 * super().default_learning_rate(model)


def with_bottleneck(module: nn.Module, size: int, activation: str) -> nn.Module:
    """Wraps a linear layer so that its output passes through a bottleneck with a residual connection."""
    import torch
    from torch import nn
    from torch.nn import functional

    width = module.weight.shape[1] if type(module).__name__ == "Conv1D" else module.weight.shape[0]

    class Bottleneck(nn.Module):
        def __init__(self) -> None:
            super().__init__()
            self.base_layer = module
            self.adapter_down = nn.Linear(width, size)
            self.adapter_up = nn.Linear(size, width)
            nn.init.normal_(self.adapter_down.weight, std=0.02)
            nn.init.zeros_(self.adapter_down.bias)
            nn.init.zeros_(self.adapter_up.weight)
            nn.init.zeros_(self.adapter_up.bias)

        @property
        def weight(self) -> torch.Tensor:
            """T5 looks at the number format of its last layer's weight."""
            return self.base_layer.weight

        def forward(self, hidden_BTD: torch.Tensor) -> torch.Tensor:
            out_BTD = self.base_layer(hidden_BTD)
            return out_BTD + self.adapter_up(getattr(functional, activation)(self.adapter_down(out_BTD)))

    return Bottleneck().to(module.weight.device)
