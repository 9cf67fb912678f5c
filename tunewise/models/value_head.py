"""A head beside a language model that foretells, at each token, the reward that is to come.

Shape legend: B rows of a batch, T tokens, H width, N tokens to learn in a batch.
"""

from __future__ import annotations

from collections.abc import Iterator, Mapping
from contextlib import contextmanager

import torch
from torch import nn

from tunewise.config.reading import UNLABELLED
from tunewise.models.wrapped import plain_model

NAME = "value_head"


class ValueHead(nn.Linear):
    """One number for each hidden state. It begins with 0 everywhere, so that no value is made up."""

    def __init__(self, width: int):
        super().__init__(width, 1)
        nn.init.zeros_(self.weight)
        nn.init.zeros_(self.bias)


def attach(model: nn.Module) -> None:
    """Puts the head beside what the model has, as its child of the name `value_head`."""
    model.add_module(NAME, ValueHead(model.config.hidden_size))


def detach(model: nn.Module) -> None:
    """Takes it off again: it is not part of what is handed over."""
    delattr(model, NAME)


@contextmanager
def watched(model: nn.Module) -> Iterator[list[torch.Tensor]]:
    """Inside, the list it yields gets what the decoder gives in each forward pass, (B, T, H)."""
    plain = plain_model(model)
    seen: list[torch.Tensor] = []
    handle = plain.get_decoder().register_forward_hook(
        lambda module, inputs, output: seen.append(output[0] if isinstance(output, tuple) else output.last_hidden_state)
    )
    try:
        yield seen
    finally:
        handle.remove()


def values_of(model: nn.Module, hidden_BTH: torch.Tensor, batch: Mapping[str, torch.Tensor]) -> torch.Tensor:
    """The value before each token to learn, (N,) fp32, in the order of `token_log_probs`: what the head makes of the
    state that the token's probability comes from."""
    labels_BT = batch["labels"] if model.config.is_encoder_decoder else batch["labels"][:, 1:]
    row_N, place_N = (labels_BT != UNLABELLED).nonzero(as_tuple=True)
    return getattr(model, NAME)(hidden_BTH[row_N, place_N])[:, 0].float()
