"""Sums of cross-entropy over rows or words, softmax or sigmoid, plain or focal.

Focal loss (Lin et al. 2017, "Focal loss for dense object detection", equations 4 and 5): -w (1 - p_t)^gamma log p_t,
where p_t is the probability of what is right and w the weight of its class. What is already right with certainty
counts little. With gamma 0 it is cross-entropy.

Shape legend: N rows or words, C classes.
"""

from __future__ import annotations

from typing import TYPE_CHECKING

if TYPE_CHECKING:
    import numpy as np
    import torch

    from tunewise.objectives.settings import ObjectiveConfig


def cross_entropy_sum(
    logits_NC: torch.Tensor, targets_N: torch.Tensor, weights: np.ndarray | None, config: ObjectiveConfig
) -> torch.Tensor:
    """Sum over items of which one class is right, computed in fp32."""
    from torch.nn import functional

    logits_NC, weight = logits_NC.float(), _weight(weights, logits_NC)
    if not config.focal_gamma:
        smoothing = config.label_smoothing
        return functional.cross_entropy(logits_NC, targets_N, weight=weight, label_smoothing=smoothing, reduction="sum")
    losses_N = functional.cross_entropy(logits_NC, targets_N, weight=weight, reduction="none")
    return (_modulated(_log_of_the_others(logits_NC, targets_N), config.focal_gamma) * losses_N).sum()


def binary_cross_entropy_sum(
    logits_NC: torch.Tensor, targets_NC: torch.Tensor, weights: np.ndarray | None, config: ObjectiveConfig
) -> torch.Tensor:
    """Sum over items and labels, each of which is right (1) or not (0), computed in fp32."""
    from torch.nn import functional

    logits_NC, weight = logits_NC.float(), _weight(weights, logits_NC)
    if not config.focal_gamma:
        return functional.binary_cross_entropy_with_logits(logits_NC, targets_NC, weight=weight, reduction="sum")
    losses_NC = functional.binary_cross_entropy_with_logits(logits_NC, targets_NC, weight=weight, reduction="none")
    log_wrong_NC = functional.logsigmoid((1 - 2 * targets_NC) * logits_NC)
    return (_modulated(log_wrong_NC, config.focal_gamma) * losses_NC).sum()


def _weight(weights: np.ndarray | None, logits_NC: torch.Tensor) -> torch.Tensor | None:
    import torch

    return None if weights is None else torch.as_tensor(weights, dtype=torch.float32, device=logits_NC.device)


def _log_of_the_others(logits_NC: torch.Tensor, targets_N: torch.Tensor) -> torch.Tensor:
    """log(1 - p_t) (N,), from the outputs of the other classes: 1 - p_t itself is 0 in fp32 from p_t = 1 - 3e-8 on."""
    import torch

    others_NC = logits_NC.scatter(1, targets_N[:, None], -torch.inf)
    return others_NC.logsumexp(1) - logits_NC.logsumexp(1)


def _modulated(log_wrong: torch.Tensor, gamma: float) -> torch.Tensor:
    """(1 - p_t)^gamma, as a power of e: where 1 - p_t is 0, the gradient of a power below 1 would be 0 times inf."""
    return (gamma * log_wrong).exp()
