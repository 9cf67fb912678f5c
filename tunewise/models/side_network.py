"""A narrow transformer beside a list of blocks: it reads what they give, and adds to what the last one gives.

Shape legend: B rows, T tokens, D width of the model, M width of the side network, H its heads, E = M / H.
"""

from __future__ import annotations

import inspect
from typing import Any

import torch
from torch import nn
from torch.nn import functional

from tunewise.errors import MethodError
from tunewise.models.wrapped import hidden_of, with_hidden

TEMPERATURE = 0.1
HEAD_WIDTH = 16


class SideNetwork(nn.Module):
    """One side block per block of the model, with a gate between what comes from below and from the model."""

    def __init__(self, depth: int, width: int, size: int):
        super().__init__()
        self.down = nn.ModuleList(nn.Linear(width, size) for _ in range(depth + 1))
        self.gate = nn.Parameter(torch.zeros(depth))
        self.blocks = nn.ModuleList(SideBlock(size) for _ in range(depth))
        self.norm = nn.LayerNorm(size)
        self.up = nn.Linear(size, width)
        nn.init.zeros_(self.up.weight)
        nn.init.zeros_(self.up.bias)

    def enter(self, hidden_BTD: torch.Tensor) -> torch.Tensor:
        """The side state before the first block."""
        return self.down[0](_tapped(hidden_BTD))

    def climb(
        self, number: int, state_BTM: torch.Tensor, hidden_BTD: torch.Tensor, mask: torch.Tensor | None, causal: bool
    ) -> torch.Tensor:
        """The side state after block `number` of the model gave `hidden_BTD`."""
        share = torch.sigmoid(self.gate[number] / TEMPERATURE)
        mixed_BTM = share * state_BTM + (1 - share) * self.down[number + 1](_tapped(hidden_BTD))
        return self.blocks[number](mixed_BTM, mask, causal)

    def leave(self, state_BTM: torch.Tensor) -> torch.Tensor:
        """What is added to the last block's output."""
        return self.up(self.norm(state_BTM))


class SideBlock(nn.Module):
    """x + attention(norm(x)), then the same with a feed-forward network."""

    def __init__(self, size: int):
        super().__init__()
        self.heads = next(count for count in range(max(1, size // HEAD_WIDTH), 0, -1) if size % count == 0)
        self.attention_norm, self.feed_forward_norm = nn.LayerNorm(size), nn.LayerNorm(size)
        self.query_key_value = nn.Linear(size, 3 * size)
        self.out = nn.Linear(size, size)
        self.out.closes_attention = True
        self.feed_forward = nn.Sequential(nn.Linear(size, 4 * size), nn.GELU(), nn.Linear(4 * size, size))

    def forward(self, state_BTM: torch.Tensor, mask: torch.Tensor | None, causal: bool) -> torch.Tensor:
        state_BTM = state_BTM + self.out(self._attend(self.attention_norm(state_BTM), mask, causal))
        return state_BTM + self.feed_forward(self.feed_forward_norm(state_BTM))

    def _attend(self, state_BTM: torch.Tensor, mask: torch.Tensor | None, causal: bool) -> torch.Tensor:
        parts = self.query_key_value(state_BTM).unflatten(-1, (3, self.heads, -1)).unbind(-3)
        query_BHTE, key_BHTE, value_BHTE = (part.transpose(1, 2) for part in parts)
        mixed_BHTE = functional.scaled_dot_product_attention(
            query_BHTE, key_BHTE, value_BHTE, attn_mask=mask, is_causal=causal and mask is None
        )
        return mixed_BHTE.transpose(1, 2).flatten(-2)


def read_blocks(blocks: nn.ModuleList, side: SideNetwork) -> None:
    """Hooks a side network to the blocks; they need no gradient for it.

    Raises:
        MethodError: the blocks are not told which positions they may read.
    """
    states: list[torch.Tensor] = []

    def begin(_: nn.Module, args: tuple[Any, ...], kwargs: dict[str, Any]) -> None:
        states[:] = [side.enter(args[0] if args else kwargs["hidden_states"])]

    blocks[0].register_forward_pre_hook(begin, with_kwargs=True)
    for number, block in enumerate(blocks):
        block.register_forward_hook(
            _Rung(number, block, side, states, last=number == len(blocks) - 1), with_kwargs=True
        )


class _Rung:
    """Takes the side network past a block, and after the last one adds its result."""

    def __init__(self, number: int, block: nn.Module, side: SideNetwork, states: list[torch.Tensor], last: bool):
        names = list(inspect.signature(block.forward).parameters)
        if "attention_mask" not in names:
            raise MethodError(
                f"ladder: blocks of the kind '{type(block).__name__}' do not take a mask of the positions to read",
                instead="mlp_head",
            )
        self.mask_place = names.index("attention_mask")
        self.causal = any(getattr(module, "is_causal", False) for module in block.modules())
        self.number, self.side, self.states, self.last = number, side, states, last

    def __call__(self, _: nn.Module, args: tuple[Any, ...], kwargs: dict[str, Any], output: Any) -> Any:
        mask = args[self.mask_place] if len(args) > self.mask_place else kwargs.get("attention_mask")
        hidden_BTD = hidden_of(output)
        state_BTM = self.side.climb(self.number, self.states.pop(), hidden_BTD, _allowed(mask), self.causal)
        if self.last:
            return with_hidden(output, hidden_BTD + self.side.leave(state_BTM))
        self.states.append(state_BTM)
        return None


def _tapped(hidden_BTD: torch.Tensor) -> torch.Tensor:
    """What the side network reads: no gradient goes back, and the sums of pre-norm models, which grow from block to
    block, come to one scale."""
    return functional.layer_norm(hidden_BTD.detach(), hidden_BTD.shape[-1:])


def _allowed(mask: torch.Tensor | None) -> torch.Tensor | None:
    """Which positions may be read, (B, 1, T or 1, T) of bool, from a model's mask: of bool, of 0 and 1, or added to the
    attention's scores (0, or the lowest number there is)."""
    if mask is None or not mask.is_floating_point():
        return mask if mask is None else mask.bool()
    return mask > torch.finfo(mask.dtype).min / 2
