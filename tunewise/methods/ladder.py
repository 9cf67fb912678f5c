"""Ladder side-tuning: a small network beside the model, which only reads it; no gradient enters the model's blocks."""

from __future__ import annotations

from typing import TYPE_CHECKING

from pydantic import Field

from tunewise.methods.base import Method, MethodConfig
from tunewise.methods.parts import new_head_rules
from tunewise.types import ModelMap, ModuleInsert, Plan, Rule, Signals

if TYPE_CHECKING:
    from torch import nn


class LadderConfig(MethodConfig):
    reduction: int = Field(default=8, ge=1)
    """The side network is so many times narrower than the model."""


class Ladder(Method):
    """s_0 = down_0(h_0), s_i = block_i(m_i s_(i-1) + (1 - m_i) down_i(h_i)), with h_0 what the first block reads, h_i
    the output of block i, cut off from the gradient, and m_i = sigmoid(a_i / 0.1) a gate; up(s_L) is added to h_L. up
    is zero at the start, so the model starts unchanged. The blocks of the side network are narrow transformer blocks.

    The backward pass costs a small part of that of adapters or LoRA, and keeps no activation of the model. Two things
    differ from the paper: the head reads h_L besides, and of an encoder-decoder only the decoder, whose blocks read all
    of the encoder, has a ladder."""

    name = "ladder"
    group = "additive"
    trains = "a narrow network beside the blocks, and the output layers; no gradient in the model's blocks"
    source = "Sung, Cho and Bansal 2022, LST: Ladder Side-Tuning for Parameter and Memory Efficient Transfer Learning"
    handover = "tunewise"
    instead = "mlp_head"
    Config = LadderConfig

    def plan(self, model: ModelMap, signals: Signals) -> Plan:
        chain = model.chains[-1]
        if not all(block.attention for block in chain.blocks):
            self.refuse(f"it is for blocks that all have attention, and not all of a '{model.family}' model do")
        if len(chain.blocks) < 2:
            self.refuse(f"a ladder reads two blocks or more, and this '{model.family}' model has one")
        insert = ModuleInsert(
            build="tunewise.methods.ladder:with_ladder",
            where=(chain.name,),
            options={"width": model.width, "size": max(1, model.width // self.config.reduction)},
        )
        rules = (Rule(f"{chain.name}.ladder.*"), *new_head_rules(model))
        return Plan(rules=rules, learning_rate=self.learning_rate(model), inserts=(insert,))

    @classmethod
    def default_learning_rate(cls, model: ModelMap) -> float:
        """20x that of full fine-tuning: the side network starts from random values. (The authors' scripts take 3e-3 for
        a T5 of width 768; their side network starts from pruned weights.)"""
        return 20 * super().default_learning_rate(model)


def with_ladder(module: nn.ModuleList, width: int, size: int) -> nn.Module:
    """Wraps a list of blocks so that a side network of width `size` reads them and adds to what the last one gives."""
    from tunewise.models.side_network import SideNetwork, read_blocks
    from tunewise.models.wrapped import WrappedList

    wrapped = WrappedList(module)
    wrapped.ladder = SideNetwork(len(module), width, size).to(next(module.parameters()).device)
    read_blocks(module, wrapped.ladder)
    return wrapped
