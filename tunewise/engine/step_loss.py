"""The loss of a batch in training: plain, of mixed rows (mixup, CutMix), or of two passes (R-Drop).

Mixup of sentence vectors (Guo et al. 2019, "Augmenting data with mixup for sentence classification", senMixup): what
the output layer reads of two rows is mixed, L of one and 1 - L of the other. Since that layer is linear, mixing what it
gives is the same, bias included, whatever the model, and nothing below it changes.

Shape legend: B rows of a batch, C outputs.
"""

from __future__ import annotations

import re
from collections.abc import Callable, Mapping

import numpy as np
import torch
from torch import nn
from torch.nn.modules.dropout import _DropoutNd

from tunewise.config.reading import WINDOW_PLACES
from tunewise.errors import MethodError
from tunewise.objectives.base import Loss, Objective
from tunewise.types import Plan

_MIXUP = 13  # keeps these random numbers apart from all others of the same seed
_PROBABILITY = re.compile(r"(attention_|activation_|hidden_|residual_)?dropout(_p|_prob)?")


def mixup_generator(seed: int, step: int, rows: np.ndarray) -> np.random.Generator:
    """The random numbers of the batch of a step that begins with this row."""
    return np.random.default_rng([seed, step, int(rows[0]), _MIXUP])


def mixed_loss(
    objective: Objective, logits_BC: torch.Tensor, targets: torch.Tensor, alpha: float, generator: np.random.Generator
) -> Loss:
    """Row i is mixed with row j(i) of the batch in another order: L loss(mixed, y_i) + (1 - L) loss(mixed, y_j), summed
    over rows; L from Beta(alpha, alpha), one for the batch. Of numbers the gradient is that for the mixed target.

    Every row is once the first and once the second, so that the weights of all items add up to what they are unmixed.
    """
    share = float(generator.beta(alpha, alpha))
    order = torch.from_numpy(generator.permutation(len(logits_BC))).to(logits_BC.device)
    logits_BC = logits_BC.float()
    mixed_BC = share * logits_BC + (1 - share) * logits_BC[order]
    return loss_of_both(objective, mixed_BC, targets, targets[order], share)


def loss_of_both(
    objective: Objective, logits_BC: torch.Tensor, targets: torch.Tensor, others: torch.Tensor, share: float
) -> Loss:
    """`share` of the loss for one target, and the rest of that for the other; the loss for the mixed target, where that
    is linear in the target (cross-entropy, also of each label)."""
    one, other = objective.loss(logits_BC, targets), objective.loss(logits_BC, others)
    return Loss(share * one.total + (1 - share) * other.total, share * one.n_items + (1 - share) * other.n_items)


def repeated(batch: Mapping[str, torch.Tensor], times: int) -> dict[str, torch.Tensor]:
    """The same rows so many times, one time behind the other. Windows of each time stand behind all of those before."""
    several = {name: torch.cat([values] * times) for name, values in batch.items()}
    if WINDOW_PLACES in batch:
        places_BK, windows = batch[WINDOW_PLACES], len(batch["input_ids"])
        moved = [torch.where(places_BK < 0, places_BK, places_BK + time * windows) for time in range(times)]
        several[WINDOW_PLACES] = torch.cat(moved)
    return several


def r_drop_loss(objective: Objective, logits_2BC: torch.Tensor, targets: torch.Tensor, alpha: float) -> Loss:
    """The mean of the losses of both passes, plus alpha times their divergence. As in the authors' code; the paper adds
    up both losses, so that its alpha is twice this one."""
    first_BC, second_BC = logits_2BC.chunk(2)
    one, other = objective.loss(first_BC, targets), objective.loss(second_BC, targets)
    total = (one.total + other.total) / 2 + alpha * objective.divergence(first_BC, second_BC, targets)
    return Loss(total, one.n_items)


def check_r_drop(objective: Objective, model: nn.Module, plan: Plan, warn: Callable[[str], None]) -> None:
    """Warns where both passes of R-Drop would be the same until the next plan, since only frozen parts, which run
    without it, have dropout.

    Raises:
        MethodError: there is no next plan, or no dropout at all.
    """
    if not objective.config.r_drop or any(_drops(module) for module in model.modules() if module.training):
        return
    frozen = any(_drops(module) for module in model.modules())
    why = "what trains has no dropout" if frozen else "the model has no dropout"
    if frozen and plan.until is not None:
        warn(f"until step {plan.until} R-Drop adds nothing: {why}, so that both passes give the same")
        return
    raise MethodError(
        f"R-Drop compares two passes with different dropout, but {why}",
        where="objective.r_drop",
        fix="take a method that trains more of the model, or leave R-Drop out"
        if frozen
        else "set train.dropout, for instance to 0.1, or leave R-Drop out",
    )


def _drops(module: nn.Module) -> bool:
    """Whether a module leaves something out in training: by itself, or as a number that it hands on."""
    if isinstance(module, _DropoutNd):
        return module.p > 0
    own = vars(module).items()
    return any(isinstance(value, float) and value > 0 for name, value in own if _PROBABILITY.fullmatch(name))
