"""REINFORCE leave-one-out (Ahmadian et al. 2024, "Back to basics"), with the limits of ppo for rounds of several steps.

Shape legend: N prompts, G answers to each, A answers of a batch, M tokens of the answers of a batch.
"""

from __future__ import annotations

from collections.abc import Mapping
from typing import TYPE_CHECKING

from tunewise.objectives import policy
from tunewise.objectives.policy_optimisation import Judged, PolicyOptimisation

if TYPE_CHECKING:
    import torch


class Rloo(PolicyOptimisation):
    """-min(ratio A, clip(ratio) A) of each answer, whose ratio is that of its whole probability; A is its reward, less
    beta times its KL, minus the mean of the others' to the same prompt. The mean is over answers."""

    name = "rloo"

    def items(self, judged: Judged) -> torch.Tensor:
        return judged.rewards_NG.new_ones(judged.rewards_NG.shape).float().sum(1)

    def signals(self, judged: Judged) -> dict[str, torch.Tensor]:
        rewards_NG = judged.rewards_NG
        if self.options.beta:
            rewards_NG = rewards_NG - self.options.beta * judged.kl_NG
        signals = {"advantages": judged.of_tokens(policy.leave_one_out_advantages(rewards_NG))}
        if self.options.updates > 1:
            signals["old"] = judged.log_probs_K
        return signals

    def token_losses(
        self, log_probs_M: torch.Tensor, answer_M: torch.Tensor, signals: Mapping[str, torch.Tensor], answers: int
    ) -> tuple[torch.Tensor, torch.Tensor]:
        zeros_A = log_probs_M.new_zeros(answers)
        log_ratio_A = zeros_A.index_add(0, answer_M, log_probs_M - signals["old"])
        tokens_A = zeros_A.index_add(0, answer_M, log_probs_M.new_ones(len(log_probs_M)))
        advantages_A = zeros_A.index_add(0, answer_M, signals["advantages"]) / tokens_A.clamp(min=1)
        losses_A, held_A = policy.clipped_surrogate(
            log_ratio_A, advantages_A, self.options.clip, self.options.clip_high
        )
        return losses_A, held_A * tokens_A
