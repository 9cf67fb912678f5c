"""How far two predictions for the same items are apart: what R-Drop adds to the loss.

R-Drop (Liang et al. 2021, "R-Drop: regularized dropout for neural networks"): (KL(p || q) + KL(q || p)) / 2, which is
the sum over classes of (p - q) (log p - log q) / 2. The gradient goes through both.

Shape legend: N rows or words, C classes.
"""

from __future__ import annotations

from typing import TYPE_CHECKING

if TYPE_CHECKING:
    import numpy as np
    import torch


def divergence_sum(
    logits_NC: torch.Tensor, others_NC: torch.Tensor, targets_N: torch.Tensor, weights: np.ndarray | None
) -> torch.Tensor:
    """Sum over items of which one class is right, each with the weight of its class; in fp32."""
    import torch

    log_p_NC, log_q_NC = logits_NC.float().log_softmax(-1), others_NC.float().log_softmax(-1)
    each_N = ((log_p_NC.exp() - log_q_NC.exp()) * (log_p_NC - log_q_NC)).sum(-1) / 2
    if weights is not None:
        each_N = each_N * torch.as_tensor(weights, dtype=torch.float32, device=each_N.device)[targets_N]
    return each_N.sum()


def binary_divergence_sum(logits_NC: torch.Tensor, others_NC: torch.Tensor, weights: np.ndarray | None) -> torch.Tensor:
    """Sum over items and labels, each of which is there or not; in fp32. For two such distributions the logarithms come
    down to the difference of the outputs."""
    import torch

    first_NC, second_NC = logits_NC.float(), others_NC.float()
    each_NC = (first_NC.sigmoid() - second_NC.sigmoid()) * (first_NC - second_NC) / 2
    if weights is not None:
        each_NC = each_NC * torch.as_tensor(weights, dtype=torch.float32, device=each_NC.device)
    return each_NC.sum()
