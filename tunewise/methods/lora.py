"""LoRA: low-rank updates beside frozen linear layers."""

from __future__ import annotations

from typing import Literal

from pydantic import Field

from tunewise.errors import MethodError
from tunewise.methods.base import Method, MethodConfig
from tunewise.types import Block, ModelMap, PeftInsert, Plan, Rule, Signals


class LoraConfig(MethodConfig):
    rank: int = Field(default=16, ge=1)
    """Rank r of the update."""

    alpha: float = Field(default=32.0, gt=0)
    """Scale: the update is multiplied by alpha / r (by alpha / sqrt(r) from rank 64 on: rsLoRA)."""

    dropout: float = Field(default=0.0, ge=0, lt=1)
    """Dropout on the input of the update."""

    targets: Literal["all-linear", "attention", "feed-forward"] | list[str] = "all-linear"
    """Linear layers that get an update: all of every block, those of one half, or names they end with."""

    merge: bool = False
    """Hand over one merged transformers folder instead of a PEFT folder."""


class Lora(Method):
    """y = W x + (alpha / r) B A x, with A (r x in) random, B (out x r) zero at the start, W frozen; the head trains."""

    name = "lora"
    trains = "low-rank updates of linear layers, and the output layers"
    source = "Hu et al. 2022, LoRA; Schulman et al. 2025, LoRA Without Regret (all layers, 10x the rate)"
    handover = "peft"
    packages = ("peft",)
    Config = LoraConfig

    def plan(self, model: ModelMap, signals: Signals) -> Plan:
        options = {
            "r": self.config.rank,
            "lora_alpha": self.config.alpha,
            "lora_dropout": self.config.dropout,
            "use_rslora": self.config.rank >= 64,
            "target_modules": self._targets(model),
        }
        rules = (Rule("*.lora_?.*"), *(Rule(tensor.name) for tensor in model.head))
        return Plan(rules=rules, learning_rate=self.learning_rate(model), inserts=(PeftInsert("LoraConfig", options),))

    def _targets(self, model: ModelMap) -> list[str]:
        chosen = [path for block in model.blocks for path in block.linear if self._chosen(path, block)]
        if not chosen:
            raise MethodError(
                f"lora: no linear layer of the model matches targets: {self.config.targets}",
                fix="take all-linear, or names such as "
                + ", ".join(sorted({path.rsplit(".", 1)[-1] for block in model.blocks for path in block.linear})),
            )
        return chosen

    def _chosen(self, path: str, block: Block) -> bool:
        targets = self.config.targets
        if targets == "all-linear":
            return True
        if isinstance(targets, str):
            kind = "attention" if targets == "attention" else "feed_forward"
            return any(tensor.name == f"{path}.weight" and tensor.kind == kind for tensor in block.tensors)
        return any(path == name or path.endswith(f".{name}") for name in targets)

    @property
    def merged(self) -> bool:
        return self.config.merge

    @classmethod
    def default_learning_rate(cls, model: ModelMap) -> float:
        """5e-4 (768 / width), at most 2e-3: 10x that of full fine-tuning at a width of 768 (LoRA Without Regret), 5x at
        384. There 2e-3 was better on 700 rows, but on sms-spam it fell back to one class; 1e-3 holds on both."""
        return min(2e-3, 5e-4 * 768 / model.width)
