"""The formulas of policy optimisation, as functions of tensors: advantages, clipped losses, distances to a reference.

Shape legend: N prompts, G answers to each, B answers, T tokens of the longest, K tokens of all answers of a batch.
"""

from __future__ import annotations

from dataclasses import dataclass
from typing import TYPE_CHECKING, Literal

if TYPE_CHECKING:
    import torch

Normalise = Literal["dapo", "grpo", "dr_grpo"]
SCALE_FLOOR = 1e-4
"""Added to the standard deviation of a group: where all rewards are equal, the advantages are 0."""


def group_advantages(rewards_NG: torch.Tensor, scale: bool = True) -> torch.Tensor:
    """(r - mean) / (std + 1e-4) within the answers to a prompt, (N, G); without `scale`, r - mean.

    Shao et al. 2024, "DeepSeekMath", section 4.1.2 (the standard deviation with n - 1); without the scale Liu et al.
    2025, "Understanding R1-Zero-like training". One answer alone has the advantage 0.
    """
    centred_NG = rewards_NG - rewards_NG.mean(1, keepdim=True)
    if not scale or rewards_NG.shape[1] < 2:
        return centred_NG
    return centred_NG / (rewards_NG.std(1, keepdim=True) + SCALE_FLOOR)


def leave_one_out_advantages(rewards_NG: torch.Tensor) -> torch.Tensor:
    """r minus the mean of the other answers' to the same prompt, (N, G): they sum to 0.

    Ahmadian et al. 2024, "Back to basics: revisiting REINFORCE style optimization", equation 8. Needs G > 1.
    """
    count = rewards_NG.shape[1]
    others_NG = (rewards_NG.sum(1, keepdim=True) - rewards_NG) / (count - 1)
    return rewards_NG - others_NG


def generalised_advantages(
    rewards_BT: torch.Tensor, values_BT: torch.Tensor, held_BT: torch.Tensor, gamma: float = 1.0, decay: float = 0.95
) -> torch.Tensor:
    """A_t = d_t + gamma decay A_{t+1} with d_t = r_t + gamma V_{t+1} - V_t, (B, T); V behind the last token is 0.

    Schulman et al. 2016, "High-dimensional continuous control using generalized advantage estimation", equation 16.
    `held_BT` says where there is a token; rows are filled up on the right, and there the advantage is 0.
    """
    import torch

    found_BT = torch.zeros_like(values_BT)
    following_B, value_B = torch.zeros_like(values_BT[:, 0]), torch.zeros_like(values_BT[:, 0])
    for place in reversed(range(values_BT.shape[1])):
        held_B = held_BT[:, place].to(values_BT.dtype)
        change_B = rewards_BT[:, place] + gamma * value_B - values_BT[:, place]
        following_B = (change_B + gamma * decay * following_B) * held_B
        value_B = values_BT[:, place] * held_B
        found_BT[:, place] = following_B
    return found_BT


def whitened(values_K: torch.Tensor) -> torch.Tensor:
    """With mean 0 and variance 1 (n - 1, plus 1e-8), (K,). A single value has no variance: it becomes 0."""
    centred_K = values_K - values_K.mean()
    if len(values_K) < 2:
        return centred_K
    return centred_K * (values_K.var() + 1e-8).rsqrt()


def clipped_surrogate(
    log_ratio: torch.Tensor, advantages: torch.Tensor, low: float = 0.2, high: float | None = None
) -> tuple[torch.Tensor, torch.Tensor]:
    """Loss -min(ratio A, clip(ratio, 1 - low, 1 + high) A) of each token (or answer), and where the limit holds it.

    Schulman et al. 2017, "Proximal policy optimization algorithms", equation 7; another upper limit is that of Yu et
    al. 2025, "DAPO". `high` None: as `low`. Both results have the shape of the arguments; the second is bool.
    """
    import torch

    high = low if high is None else high
    ratio = log_ratio.exp()
    loss = -torch.min(ratio * advantages, ratio.clamp(1 - low, 1 + high) * advantages)
    held = ((ratio < 1 - low) & (advantages < 0)) | ((ratio > 1 + high) & (advantages > 0))
    return loss, held


def k1(log_probs: torch.Tensor, reference: torch.Tensor) -> torch.Tensor:
    """log p - log q of what p has drawn: its mean is KL(p || q). Schulman 2020, "Approximating KL divergence"."""
    return log_probs - reference


def k3(log_probs: torch.Tensor, reference: torch.Tensor) -> torch.Tensor:
    """q / p - 1 - log(q / p) of what p has drawn: never below 0, and its mean is KL(p || q). Same source as k1."""
    log_ratio = reference - log_probs
    return log_ratio.exp() - 1 - log_ratio


def value_loss(
    values: torch.Tensor, old_values: torch.Tensor, returns: torch.Tensor, clip: float | None = 0.2
) -> torch.Tensor:
    """Half the larger of (V - R)^2 and (clip(V, V_old - c, V_old + c) - R)^2, of each token; unclipped where `clip` is
    None. As in OpenAI's "baselines" (ppo2), which the reference implementation of Ziegler et al. 2019 follows."""
    import torch

    squared = (values - returns) ** 2
    if clip is None:
        return squared / 2
    near = old_values + (values - old_values).clamp(-clip, clip)
    return torch.max(squared, (near - returns) ** 2) / 2


def answer_losses(losses_K: torch.Tensor, answer_K: torch.Tensor, answers: int, normalise: Normalise) -> torch.Tensor:
    """What each answer adds to the sum that `items` divides, (B,): the sum over its tokens, for `grpo` their mean.

    Args:
        answer_K: which answer each token is of.
    """
    import torch

    zeros_B = torch.zeros(answers, device=losses_K.device)
    sums_B = zeros_B.index_add(0, answer_K, losses_K)
    if normalise != "grpo":
        return sums_B
    return sums_B / zeros_B.index_add(0, answer_K, torch.ones_like(losses_K)).clamp(min=1)


def items(lengths_B: torch.Tensor, normalise: Normalise, max_tokens: int) -> torch.Tensor:
    """What each answer adds to the number by which the sum of `answer_losses` is divided, (B,).

    dapo: its tokens, so that each token of the step counts the same (Yu et al. 2025). grpo: 1, so that each answer does
    (Shao et al. 2024). dr_grpo: the most tokens an answer may have, so that neither length nor spread has a say (Liu et
    al. 2025).
    """
    import torch

    if normalise == "dapo":
        return lengths_B.float()
    return torch.full(lengths_B.shape, 1.0 if normalise == "grpo" else float(max_tokens))


@dataclass
class KlController:
    """The weight of the KL in the reward: fixed, or adapted so that the KL of an answer comes near a target.

    Ziegler et al. 2019, "Fine-tuning language models from human preferences", section 2.2: error = clip(KL / target -
    1, -0.2, 0.2), weight <- weight (1 + error answers / horizon). `target` None: fixed.
    """

    weight: float
    target: float | None = None
    horizon: int = 10_000

    def update(self, kl: float, answers: int) -> None:
        """After a round whose answers had this KL on average (nats, summed over tokens)."""
        if self.target is not None:
            error = min(max(kl / self.target - 1, -0.2), 0.2)
            self.weight *= 1 + error * answers / self.horizon
