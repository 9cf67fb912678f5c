"""What an update of the same size does to the loss by chance: the control for what training did to it."""

from __future__ import annotations

from collections.abc import Callable

import torch

from tunewise.models.blocks import named_tensors
from tunewise.models.load import Net

DRAWS = 8


def change_by_chance(start: Net, trained: Net, loss: Callable[[Net], float], seed: int) -> float:
    """The most by which the loss changes, up or down, when each number of the untrained model moves as far as in the
    training, but in a direction drawn at random: the largest of `DRAWS` changes.

    Training that finds the direction by the gradient lowers the loss by far more. An update that has nothing to do with
    the loss has the same distribution as those drawn, so that it lowers the loss by 1.5 times their largest change
    in about 1 of 60 cases. The direction of the gradient itself does so the more, the more numbers move: of 32 (a norm)
    by about 2.5 times.

    Args:
        start: the model before training; left as it was.
        trained: the same model after it, with tensors of the same names.
        loss: of a net on the training rows.
    """
    after = named_tensors(trained.model)
    moved = [
        (tensor, tensor.detach().clone(), (after[name] - tensor).detach())
        for name, tensor in named_tensors(start.model).items()
        if not torch.equal(after[name], tensor)
    ]
    generator = torch.Generator().manual_seed(seed)
    before, changes = loss(start), []
    with torch.no_grad():
        for _ in range(DRAWS):
            for tensor, origin, step in moved:
                signs = torch.randint(0, 2, step.shape, generator=generator) * 2 - 1
                tensor.copy_(origin + step * signs)
            changes.append(abs(loss(start) - before))
        for tensor, origin, _ in moved:
            tensor.copy_(origin)
    return max(changes)
