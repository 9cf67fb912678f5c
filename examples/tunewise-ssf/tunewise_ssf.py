"""SSF, a method of fine-tuning in a package of its own: scales and shifts what each layer gives."""

from __future__ import annotations

from typing import TYPE_CHECKING

from tunewise.methods.base import Method, MethodConfig
from tunewise.methods.parts import head_rules, vector_learning_rate
from tunewise.types import ModelMap, ModuleInsert, Plan, Rule, Signals

if TYPE_CHECKING:
    import torch
    from torch import nn


class SsfConfig(MethodConfig):
    shift: bool = True
    """Shift the features too; else they are scaled only."""


class Ssf(Method):
    """y = scale * f(x) + shift after each linear layer and convolution f of the blocks, with one scale and one shift
    for each feature; scales start at 1, shifts at 0. These and the output layers train, the model stays as it is."""

    name = "ssf"
    group = "additive"
    trains = "a scale and a shift for each feature, and the output layers"
    source = "Lian et al. 2022, Scaling and Shifting Your Features: A New Baseline for Efficient Model Tuning"
    handover = "tunewise"
    Config = SsfConfig

    def plan(self, model: ModelMap, signals: Signals) -> Plan:
        layers = tuple(path for block in model.blocks for path in (*block.linear, *block.conv))
        if not layers:
            self.refuse(f"no linear layers or convolutions were found in the blocks of a '{model.family}' model")
        build = f"{__name__}:with_scale_and_shift"
        insert = ModuleInsert(build, layers, {"shift": self.config.shift})
        parts = ("scale", "shift") if self.config.shift else ("scale",)
        rules = tuple(Rule(f"*.ssf_{part}", weight_decay=0.0) for part in parts)
        return Plan(rules + head_rules(model), self.learning_rate(model), inserts=(insert,))

    @classmethod
    def default_learning_rate(cls, model: ModelMap) -> float:
        """1e-3 (768 / width), at most 3e-3, as for other methods that train vectors only."""
        return vector_learning_rate(model)


def with_scale_and_shift(module: nn.Module, shift: bool) -> nn.Module:
    """Wraps a layer. Torch is imported here, and not above, so that recipes are checked without it."""
    import torch
    from torch import nn

    from tunewise.models.wrapped import Wrapped, widths_of

    class ScaledAndShifted(Wrapped):
        def forward(self, hidden: torch.Tensor) -> torch.Tensor:
            scaled = self.base_layer(hidden) * self.ssf_scale
            return scaled + self.ssf_shift if shift else scaled

    is_conv = isinstance(module, nn.Conv2d)
    shape = (module.out_channels, 1, 1) if is_conv else widths_of(module)[1:]
    wrapped = ScaledAndShifted(module)
    wrapped.ssf_scale = nn.Parameter(torch.ones(shape))
    if shift:
        wrapped.ssf_shift = nn.Parameter(torch.zeros(shape))
    return wrapped.to(module.weight.device)
