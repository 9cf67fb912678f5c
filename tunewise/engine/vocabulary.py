"""Training only the rows of the vocabulary that the training texts use: the same weights for less work.

A row of the embedding matrix whose token is in no training text never gets a gradient, and embeddings have no weight
decay, so AdamW leaves it as it is. Leaving such rows out of the parameter changes nothing but the size of gradients,
moments and checkpoints (MiniLM on the example data: 4,764 of 30,522 rows over all texts).

Shape legend: V rows of the vocabulary, U rows in use, D width, B rows of a batch, T tokens.
"""

from __future__ import annotations

from collections.abc import Iterator
from contextlib import contextmanager

import numpy as np
import torch
from torch import nn
from torch.nn import functional

from tunewise.data.inputs import Inputs
from tunewise.data.tokenise import Tokens


class UsedRows(nn.Module):
    """An embedding whose parameter `weight` (U, D) holds the rows in use; the others are kept beside it.

    In training, only tokens in use occur. In evaluation, any token may: the rows are put together first.
    """

    def __init__(self, embedding: nn.Embedding, used: torch.Tensor):
        super().__init__()
        whole_VD = embedding.weight.detach()
        place_V = torch.zeros(len(whole_VD), dtype=torch.int64, device=whole_VD.device)
        place_V[used] = torch.arange(len(used), device=whole_VD.device)
        pad = embedding.padding_idx
        self.padding_idx = int(place_V[pad]) if pad is not None and pad in used else None
        self.weight = nn.Parameter(whole_VD[used].clone(), requires_grad=embedding.weight.requires_grad)
        for name, buffer in (("whole", whole_VD), ("used", used), ("place", place_V)):
            self.register_buffer(name, buffer, persistent=False)
        self._put_together_at: int | None = self.weight._version

    def forward(self, ids_BT: torch.Tensor) -> torch.Tensor:
        if self.training and self.weight.requires_grad:
            # Fused AdamW, which may come next, changes a parameter without counting its version up.
            self._put_together_at = None
            return functional.embedding(self.place[ids_BT], self.weight, padding_idx=self.padding_idx)
        return functional.embedding(ids_BT, self.put_together())

    def spread(self, values_UD: torch.Tensor, others_VD: torch.Tensor) -> torch.Tensor:
        """Values of the rows in use among those of all rows, as (V, D)."""
        values_VD = others_VD.clone()
        values_VD[self.used] = values_UD
        return values_VD

    def put_together(self) -> torch.Tensor:
        """The whole matrix (V, D), with the trained rows in it; where nothing trains them it is as it was."""
        if self._put_together_at != self.weight._version:
            with torch.no_grad():
                self.whole[self.used] = self.weight.detach()
            self._put_together_at = self.weight._version
        return self.whole


def used_rows(model: nn.Module) -> Iterator[UsedRows]:
    """The embeddings of which only the rows in use train."""
    return (module for module in model.modules() if isinstance(module, UsedRows))


@contextmanager
def only_used_rows(model: nn.Module, inputs: Inputs) -> Iterator[None]:
    """Inside, the model's input embedding trains the rows of the tokens in use; after, it is whole again.

    Left alone where the inputs are not tokens, the embedding is not an ordinary one, or shares its weight with another
    module.
    """
    if not isinstance(inputs, Tokens):
        yield
        return
    embedding = model.get_input_embeddings()
    if type(embedding) is not nn.Embedding or _is_shared(model, embedding) or embedding.max_norm is not None:
        yield
        return
    rows = UsedRows(embedding, _ids_in(inputs, len(embedding.weight)).to(embedding.weight.device))
    path = next(name for name, module in model.named_modules() if module is embedding)
    parent_path, _, name = path.rpartition(".")
    parent = model.get_submodule(parent_path)
    setattr(parent, name, rows)
    try:
        yield
    finally:
        with torch.no_grad():
            embedding.weight.copy_(rows.put_together())
        embedding.weight.requires_grad_(rows.weight.requires_grad)
        setattr(parent, name, embedding)


def _ids_in(tokens: Tokens, rows: int) -> torch.Tensor:
    """The ids that occur, ascending, int64 (U,), of a vocabulary of so many rows; padding is among them."""
    occurs_V = np.zeros(rows, dtype=bool)
    occurs_V[tokens.ids.flat] = True
    occurs_V[tokens.pad] = True
    return torch.from_numpy(np.flatnonzero(occurs_V))


def _is_shared(model: nn.Module, embedding: nn.Embedding) -> bool:
    owners = [
        module
        for module in model.modules()
        for weight in module.parameters(recurse=False)
        if weight is embedding.weight
    ]
    return len(owners) != 1
