"""P-tuning: a prompt whose vectors a small network makes."""

from __future__ import annotations

from typing import TYPE_CHECKING, Literal

from pydantic import Field

from tunewise.methods.base import Method, MethodConfig
from tunewise.methods.parts import new_head_rules
from tunewise.methods.prompt_tuning import read_prompt, refuse_images
from tunewise.types import ModelMap, ModuleInsert, Plan, Rule, Signals

if TYPE_CHECKING:
    import torch
    from torch import nn


class PTuningConfig(MethodConfig):
    tokens: int = Field(default=20, ge=1)
    """Number n of virtual tokens. They take n of the model's positions, and as much time as n more words."""

    encoder: Literal["mlp", "lstm"] = "mlp"
    """The network: a perceptron on each vector, or a bidirectional LSTM over all of them and a perceptron."""

    hidden: int | None = Field(default=None, ge=1)
    """Width of the network (of the LSTM: in each direction). Where left out: the model's."""


class PTuning(Method):
    """Reads [g(e)_1 ... g(e)_n; x]: as prompt tuning, but the vectors are the output of a network g on a table e, which
    ties them together; g(e) = MLP(e), or MLP(LSTM(e))."""

    name = "p_tuning"
    group = "prompts"
    trains = "a small network that makes vectors in front of the text, and the output layers"
    source = "Liu et al. 2021, GPT Understands, Too"
    handover = "tunewise"
    modalities = ("text",)
    instead = "visual_prompt"
    starts_unchanged = False
    Config = PTuningConfig

    def plan(self, model: ModelMap, signals: Signals) -> Plan:
        refuse_images(self, model)
        insert = ModuleInsert(
            build="tunewise.methods.p_tuning:with_prompt_encoder",
            where=(model.input_embedding,),
            options={
                "tokens": self.config.tokens,
                "encoder": self.config.encoder,
                "hidden": self.config.hidden or model.width,
            },
            positions=self.config.tokens,
        )
        rules = [Rule("*.prompt.table", weight_decay=0.0), Rule("*.prompt.mlp.*")]
        if self.config.encoder == "lstm":
            rules.append(Rule("*.prompt.lstm.*"))
        rules += new_head_rules(model)
        return Plan(tuple(rules), self.learning_rate(model), inserts=(insert,), virtual_tokens=self.config.tokens)

    @property
    def positions(self) -> int:
        return self.config.tokens

    @classmethod
    def default_learning_rate(cls, model: ModelMap) -> float:
        """5e-3: on 25 classes of banking77, MiniLM, it gave 0.913 on validation, 1e-3 0.877."""
        return 5e-3


def with_prompt_encoder(module: nn.Module, tokens: int, encoder: str, hidden: int) -> nn.Module:
    """An embedding that knows `tokens` ids more than its vocabulary has."""
    import torch
    from torch import nn

    width = module.weight.shape[1]

    class PromptEncoder(nn.Module):
        def __init__(self) -> None:
            super().__init__()
            self.table = nn.Parameter(torch.randn(tokens, width))
            if encoder == "lstm":
                self.lstm = nn.LSTM(width, hidden, num_layers=2, bidirectional=True)
                self.mlp = nn.Sequential(nn.Linear(2 * hidden, 2 * hidden), nn.ReLU(), nn.Linear(2 * hidden, width))
            else:
                inner = (nn.Linear(width, hidden), nn.ReLU(), nn.Linear(hidden, hidden), nn.ReLU())
                self.mlp = nn.Sequential(*inner, nn.Linear(hidden, width))

        def forward(self) -> torch.Tensor:
            vectors_ND = self.lstm(self.table)[0] if encoder == "lstm" else self.table
            return self.mlp(vectors_ND)

    return read_prompt(module, PromptEncoder())
