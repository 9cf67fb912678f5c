"""New layers on top: an MLP between the model and its output layer."""

from __future__ import annotations

from itertools import pairwise
from typing import TYPE_CHECKING, Literal

from pydantic import Field, model_validator

from tunewise.errors import MethodError
from tunewise.methods.base import Method, MethodConfig
from tunewise.methods.parts import block_rules, head_rules
from tunewise.types import ModelMap, ModuleInsert, Plan, Rule, Signals

if TYPE_CHECKING:
    import torch
    from torch import nn


class MlpHeadConfig(MethodConfig):
    layers: int = Field(default=2, ge=1)
    """How many new layers, each linear with a non-linearity and dropout after it."""

    width: int | None = Field(default=None, ge=1)
    """Width of all new layers but the last, which is as wide as what the output layer reads. Where left out: that width
    for all. Only for two layers or more."""

    activation: Literal["gelu", "relu", "tanh"] = "gelu"
    """Non-linearity after each new layer."""

    dropout: float = Field(default=0.1, ge=0, lt=1)
    """Dropout after each new layer."""

    unfreeze: int = Field(default=0, ge=0)
    """How many blocks from the top train too."""

    unfreeze_rate: float = Field(default=0.2, gt=0)
    """Factor on the learning rate of those blocks: what is pretrained should move less than what is new."""

    @model_validator(mode="after")
    def _width_is_used(self) -> MlpHeadConfig:
        if self.width is not None and self.layers == 1:
            raise ValueError("width is for 2 layers or more: a single one is as wide as what the output layer reads")
        return self


class MlpHead(Method):
    """y = W h_n + b, h_i = dropout(act(V_i h_(i-1) + b_i)), h_0 what the model's own output layer W read before. The
    model below stays as it is, but for the top blocks where asked."""

    name = "mlp_head"
    group = "additive"
    trains = "new layers before the output layer, the output layers, and top blocks where asked"
    source = "Chollet 2021, Deep Learning with Python, 2nd edition, section 8.3 (a new classifier on a frozen base)"
    handover = "tunewise"
    instead = "head"
    starts_unchanged = False
    Config = MlpHeadConfig

    def plan(self, model: ModelMap, signals: Signals) -> Plan:
        config, depth = self.config, len(model.blocks)
        if model.language:
            self.refuse("the output layer of a language model is pretrained, and knows nothing of new layers before it")
        if model.keeps_head:
            self.refuse("the model draws images: it has no linear output layer to put new layers before")
        if config.unfreeze > depth:
            raise MethodError(
                f"mlp_head: unfreeze is {config.unfreeze}, but the model has {depth} blocks",
                fix=f"set unfreeze between 0 and {depth}",
            )
        matrices = [tensor.name for tensor in model.head if len(tensor.shape) == 2]
        if not matrices:
            self.refuse(f"no output layer was found in a '{model.family}' model")
        last = matrices[-1].removesuffix(".weight")
        insert = ModuleInsert(
            build="tunewise.methods.mlp_head:with_new_layers",
            where=(last,),
            options={name: getattr(config, name) for name in ("layers", "width", "activation", "dropout")},
        )
        top = block_rules(model.blocks[depth - config.unfreeze :], config.unfreeze_rate)
        rules = (Rule(f"{last}.new_layers.*"), *head_rules(model), *top)
        return Plan(rules=rules, learning_rate=self.learning_rate(model), inserts=(insert,))

    @classmethod
    def default_learning_rate(cls, model: ModelMap) -> float:
        """10x that of full fine-tuning: most of what trains is new, but a deep head is less steady at the rate that a
        single layer takes."""
        return 10 * super().default_learning_rate(model)


def with_new_layers(module: nn.Module, layers: int, width: int | None, activation: str, dropout: float) -> nn.Module:
    """Wraps the output layer so that it reads what the new layers make of its input."""
    from torch import nn

    from tunewise.models.wrapped import Wrapped, widths_of

    reads, _ = widths_of(module)
    act = {"gelu": nn.GELU, "relu": nn.ReLU, "tanh": nn.Tanh}[activation]
    widths = [reads, *[width or reads] * (layers - 1), reads]

    class WithNewLayers(Wrapped):
        def forward(self, hidden: torch.Tensor) -> torch.Tensor:
            return self.base_layer(self.new_layers(hidden))

    wrapped = WithNewLayers(module)
    parts: list[nn.Module] = []
    for before, after in pairwise(widths):
        linear = nn.Linear(before, after)
        nn.init.kaiming_normal_(linear.weight, nonlinearity="tanh" if activation == "tanh" else "relu")
        nn.init.zeros_(linear.bias)
        parts += [linear, act(), nn.Dropout(dropout)]
    wrapped.new_layers = nn.Sequential(*parts)
    return wrapped.to(module.weight.device)
