"""Block expansion: copies of blocks, put behind them, that do nothing at the start."""

from __future__ import annotations

from typing import TYPE_CHECKING, Any

from pydantic import Field

from tunewise.errors import MethodError
from tunewise.methods.base import Method, MethodConfig
from tunewise.methods.parts import new_head_rules
from tunewise.types import Block, ModelMap, ModuleInsert, Plan, Rule, Signals

if TYPE_CHECKING:
    from torch import nn


class InsertedBlocksConfig(MethodConfig):
    count: int = Field(default=2, ge=1)
    """How many blocks are inserted, at even distances, the last behind the top block."""

    gate_rate: float = Field(default=10.0, gt=0)
    """Factor on the learning rate of the gates: each is one number, which has to move from 0 to the order of 1 while
    the copies' weights move by a few hundredths."""


class InsertedBlocks(Method):
    """x + g (copy(x) - x) behind a block with output x; copy starts as a copy of that block, the gate g at 0, so that
    the model starts unchanged. Copies, gates and head train, the model's own blocks stay as they are.

    LLaMA Pro sets the copies' output projections to zero instead. That is the identity only where the sum x + f(x) is
    passed on as it is (pre-norm); BERT normalises it again (post-norm). The gate holds for both."""

    name = "inserted_blocks"
    group = "additive"
    trains = "copies of blocks put behind them, and the output layers"
    source = "Wu et al. 2024, LLaMA Pro: Progressive LLaMA with Block Expansion; Bachlechner et al. 2021, ReZero (gate)"
    handover = "tunewise"
    Config = InsertedBlocksConfig

    def plan(self, model: ModelMap, signals: Signals) -> Plan:
        count, depth = self.config.count, len(model.blocks)
        if not all(block.attention and block.feed_forward for block in model.blocks):
            self.refuse(f"cannot tell that each block of a '{model.family}' model gives what another one can read")
        if count > depth:
            raise MethodError(
                f"inserted_blocks: count is {count}, but the model has {depth} blocks",
                fix=f"set count between 1 and {depth}",
            )
        chosen = [model.blocks[depth * number // count - 1] for number in range(1, count + 1)]
        rules = (Rule("*.inserted.*"), Rule("*.inserted_gate", self.config.gate_rate), *new_head_rules(model))
        return Plan(rules=rules, learning_rate=self.learning_rate(model), inserts=_inserts(chosen))

    @classmethod
    def default_learning_rate(cls, model: ModelMap) -> float:
        """4x that of full fine-tuning, as for the top blocks of `last_k`: fewer layers must make the change."""
        return 4 * super().default_learning_rate(model)


def _inserts(chosen: list[Block]) -> tuple[ModuleInsert, ...]:
    """One for all blocks whose attention has the same names (T5: those of one chain)."""
    where: dict[tuple[str, ...], list[str]] = {}
    for block in chosen:
        where.setdefault(tuple(path.removeprefix(f"{block.path}.") for path in block.attention), []).append(block.path)
    build = "tunewise.methods.inserted_blocks:with_copy_behind"
    return tuple(ModuleInsert(build, tuple(paths), {"attention": list(ends)}) for ends, paths in where.items())


def with_copy_behind(module: nn.Module, attention: list[str]) -> nn.Module:
    """Wraps a block so that its gated copy runs behind it. `attention` names the modules that close its attentions."""
    from copy import deepcopy

    import torch
    from torch import nn

    from tunewise.models.wrapped import Wrapped, hidden_of, with_hidden

    class WithCopy(Wrapped):
        def forward(self, *args: Any, **kwargs: Any) -> Any:
            out = self.base_layer(*args, **kwargs)
            hidden_BTD = hidden_of(out)
            if args:
                args = (hidden_BTD, *args[1:])
            else:
                kwargs["hidden_states"] = hidden_BTD
            copied_BTD = hidden_of(self.inserted(*args, **kwargs))
            gate = self.inserted_gate.to(hidden_BTD.dtype)
            return with_hidden(out, hidden_BTD + gate * (copied_BTD - hidden_BTD))

    wrapped = WithCopy(module)
    wrapped.inserted = deepcopy(module)
    for path in attention:
        wrapped.inserted.get_submodule(path).closes_attention = True
    wrapped.inserted_gate = nn.Parameter(torch.zeros(1, device=next(module.parameters()).device))
    return wrapped
