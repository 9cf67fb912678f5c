"""Group relative policy optimisation (Shao et al. 2024, "DeepSeekMath"), by default with the mean of Yu et al. 2025.

Shape legend: N prompts, G answers to each, A answers of a batch, M tokens of the answers of a batch.
"""

from __future__ import annotations

from collections.abc import Mapping
from typing import TYPE_CHECKING

from tunewise.objectives import policy
from tunewise.objectives.policy_optimisation import Judged, PolicyOptimisation

if TYPE_CHECKING:
    import torch


class Grpo(PolicyOptimisation):
    """-min(ratio A, clip(ratio) A) + beta ratio k3 of each token; A is the reward of its answer against the others to
    the same prompt."""

    name = "grpo"

    def items(self, judged: Judged) -> torch.Tensor:
        return policy.items(judged.lengths_NG, self.options.normalise, self.options.max_new_tokens).sum(1)

    def signals(self, judged: Judged) -> dict[str, torch.Tensor]:
        advantages_NG = policy.group_advantages(judged.rewards_NG, self.options.scale_rewards)
        signals = {"advantages": judged.of_tokens(advantages_NG)}
        if self.options.updates > 1:
            signals["old"] = judged.log_probs_K
        if self.options.beta:
            signals["reference"] = judged.reference_K
        return signals

    def token_losses(
        self, log_probs_M: torch.Tensor, answer_M: torch.Tensor, signals: Mapping[str, torch.Tensor], answers: int
    ) -> tuple[torch.Tensor, torch.Tensor]:
        limits = self.options
        losses_M, held_M = policy.clipped_surrogate(
            log_probs_M - signals["old"], signals["advantages"], limits.clip, limits.clip_high
        )
        if limits.beta:
            kl_M = policy.k3(log_probs_M, signals["reference"])
            weight_M = (log_probs_M - signals["old"]).exp() if limits.unbiased_kl else 1.0
            losses_M = losses_M + limits.beta * weight_M * kl_M
        held_A = losses_M.new_zeros(answers).index_add(0, answer_M, held_M.float())
        return policy.answer_losses(losses_M, answer_M, answers, limits.normalise), held_A
