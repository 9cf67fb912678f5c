"""Bottleneck adapters: small networks inside each block; our own, since peft has none."""

from __future__ import annotations

from typing import TYPE_CHECKING, Literal

from pydantic import Field

from tunewise.methods.base import Method, MethodConfig
from tunewise.methods.parts import new_head_rules, tensor_rules
from tunewise.types import Block, ModelMap, ModuleInsert, Plan, Rule, Signals

if TYPE_CHECKING:
    import torch
    from torch import nn

PARALLEL_SCALE = 4.0


class AdapterConfig(MethodConfig):
    size: int | None = Field(default=None, ge=1)
    """Width m of the bottleneck. Where left out: the model's width divided by 8."""

    placement: Literal["both", "feed-forward", "parallel"] = "both"
    """After attention and feed-forward (Houlsby), after feed-forward only (Pfeiffer), or beside feed-forward (He)."""

    scale: float | None = Field(default=None, gt=0)
    """Factor s on what the bottleneck adds. Where left out: 4 for parallel (He et al.), else 1."""

    activation: Literal["gelu", "relu"] = "gelu"
    """Non-linearity in the bottleneck."""

    norms: bool = True
    """Train the blocks' norms too (Houlsby)."""


class Adapter(Method):
    """h + s up(act(down(h))) on the output h of each half of a block, before it is added to the residual; parallel:
    h + s up(act(down(x))), x what the feed-forward half reads. down (m x d) is small and random, up (d x m) zero, so
    that the model starts unchanged."""

    name = "adapter"
    group = "additive"
    trains = "bottlenecks in each block, norms, and the output layers"
    source = (
        "Houlsby et al. 2019, Parameter-Efficient Transfer Learning for NLP; Pfeiffer et al. 2021, AdapterFusion; "
        "He et al. 2022, Towards a Unified View of Parameter-Efficient Transfer Learning (parallel, scaled by 4)"
    )
    handover = "tunewise"
    instead = "lora"
    Config = AdapterConfig

    def plan(self, model: ModelMap, signals: Signals) -> Plan:
        parallel = self.config.placement == "parallel"
        inserts = self._parallel(model) if parallel else (self._sequential(model),)
        rules = [Rule("*.adapter_down.*"), Rule("*.adapter_up.*"), *new_head_rules(model)]
        if self.config.norms:
            rules += tensor_rules(t for block in model.blocks for t in block.tensors if t.kind == "norm")
        return Plan(rules=tuple(rules), learning_rate=self.learning_rate(model), inserts=inserts)

    def _sequential(self, model: ModelMap) -> ModuleInsert:
        halves = ("attention", "feed_forward") if self.config.placement == "both" else ("feed_forward",)
        where = [path for half in halves for path in self._ends(model, half)]
        options = {**self._options(model), "scale": self.config.scale or 1.0}
        return ModuleInsert("tunewise.methods.adapter:with_bottleneck", tuple(sorted(where)), options)

    def _parallel(self, model: ModelMap) -> tuple[ModuleInsert, ...]:
        """Each block is wrapped whole: its bottleneck reads at one place and adds at another. Blocks whose two places
        have the same names (T5: all of one chain) share an insert."""
        self._ends(model, "feed_forward")
        where: dict[tuple[str, str], list[str]] = {}
        for block in model.blocks:
            for last in block.feed_forward:  # one, or none
                first = _first_of_feed_forward(block)
                places = (first.removeprefix(f"{block.path}."), last.removeprefix(f"{block.path}."))
                where.setdefault(places, []).append(block.path)
        options = {**self._options(model), "scale": self.config.scale or PARALLEL_SCALE}
        return tuple(
            ModuleInsert(
                "tunewise.methods.adapter:with_parallel_bottleneck",
                tuple(paths),
                {**options, "first": first, "last": last},
            )
            for (first, last), paths in where.items()
        )

    def _options(self, model: ModelMap) -> dict[str, int | str]:
        return {"size": self.config.size or max(1, model.width // 8), "activation": self.config.activation}

    def _ends(self, model: ModelMap, half: str) -> list[str]:
        """The modules that close a half of each block."""
        ends = [path for block in model.blocks for path in getattr(block, half)]
        if not ends:
            self.refuse(f"cannot tell where the {half.replace('_', '-')} of a '{model.family}' model's block ends")
        return ends

    @classmethod
    def default_learning_rate(cls, model: ModelMap) -> float:
        """10x that of full fine-tuning (Houlsby: 3e-4 at a width of 1024)."""
        return 10 * super().default_learning_rate(model)


def _first_of_feed_forward(block: Block) -> str:
    """The linear layer that reads what the feed-forward half reads; of a gated pair, the first."""
    kinds = {tensor.name: tensor.kind for tensor in block.tensors}
    return next(path for path in block.linear if kinds[f"{path}.weight"] == "feed_forward")


def with_bottleneck(module: nn.Module, size: int, activation: str, scale: float = 1.0) -> nn.Module:
    """Wraps a linear layer so that its output passes through a bottleneck with a residual connection."""
    from torch.nn import functional

    from tunewise.models.wrapped import Wrapped, widths_of

    _, width = widths_of(module)
    act = getattr(functional, activation)

    class Bottleneck(Wrapped):
        def forward(self, hidden_BTD: torch.Tensor) -> torch.Tensor:
            out_BTD = self.base_layer(hidden_BTD)
            added_BTD = self.adapter_up(act(self.adapter_down(out_BTD)))
            return out_BTD + scale * added_BTD

    return _with_layers(Bottleneck(module), width, size, width)


def with_parallel_bottleneck(
    module: nn.Module, size: int, activation: str, scale: float, first: str, last: str
) -> nn.Module:
    """Wraps a block so that a bottleneck reads the input of its layer `first` and adds to the output of `last`."""
    from torch.nn import functional

    from tunewise.models.wrapped import Wrapped, widths_of

    reads, adds = module.get_submodule(first), module.get_submodule(last)
    wrapped = _with_layers(Wrapped(module), widths_of(reads)[0], size, widths_of(adds)[1])
    # The hooks know the two layers, not the wrapper: that would make a cycle, and keep the model alive for longer.
    down, up, act = wrapped.adapter_down, wrapped.adapter_up, getattr(functional, activation)
    seen: list[torch.Tensor] = []

    def keep(_: nn.Module, inputs: tuple[torch.Tensor, ...]) -> None:
        seen[:] = inputs[:1]

    def add(_: nn.Module, inputs: tuple[torch.Tensor, ...], out_BTD: torch.Tensor) -> torch.Tensor:
        return out_BTD + scale * up(act(down(seen.pop())))

    reads.register_forward_pre_hook(keep)
    adds.register_forward_hook(add)
    return wrapped


def _with_layers(wrapped: nn.Module, reads: int, size: int, adds: int) -> nn.Module:
    """Gives a wrapper the two layers of a bottleneck."""
    from torch import nn

    wrapped.adapter_down = nn.Linear(reads, size)
    wrapped.adapter_up = nn.Linear(size, adds)
    nn.init.normal_(wrapped.adapter_down.weight, std=0.02)
    nn.init.zeros_(wrapped.adapter_down.bias)
    nn.init.zeros_(wrapped.adapter_up.weight)
    nn.init.zeros_(wrapped.adapter_up.bias)
    return wrapped.to(next(wrapped.base_layer.parameters()).device)
