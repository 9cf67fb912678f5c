"""Proximal policy optimisation for language models (Schulman et al. 2017; as Ziegler et al. 2019, "Fine-tuning language
models from human preferences", apply it): a value head, and the KL to the model before training taken off the reward.

Shape legend: N prompts, G answers to each, A answers of a batch, T tokens of the longest, K tokens of all answers of a
round, M tokens of the answers of a batch.
"""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import replace
from typing import TYPE_CHECKING

from tunewise.objectives import policy
from tunewise.objectives.policy_optimisation import Judged, PolicyOptimisation
from tunewise.types import Plan, Rule

if TYPE_CHECKING:
    import torch
    from torch import nn

    from tunewise.objectives.settings import ObjectiveConfig
    from tunewise.types import DataBundle


class Ppo(PolicyOptimisation):
    """-min(ratio A, clip(ratio) A) + value_weight x the value head's clipped squared error, of each token; the mean is
    over all tokens of a step. A comes from generalised advantage estimation over rewards that are -beta (log p - log q)
    at each token, and the answer's reward at its last."""

    name = "ppo"
    has_values = True

    def __init__(self, config: ObjectiveConfig, data: DataBundle):
        super().__init__(config, data)
        self.controller = policy.KlController(self.options.beta, self.options.kl_target, self.options.kl_horizon)

    @property
    def needs_log_probs(self) -> bool:
        return True

    # ---- the value head

    def attach(self, model: nn.Module) -> None:
        from tunewise.models.value_head import attach

        attach(model)

    def detach(self, model: nn.Module) -> None:
        from tunewise.models.value_head import detach

        detach(model)

    def with_own_rules(self, plan: Plan) -> Plan:
        scale = self.options.value_rate / plan.learning_rate
        return replace(plan, rules=(Rule("value_head.*", lr_scale=scale, weight_decay=0.0), *plan.rules))

    def looked_at(self, model: nn.Module, batch: Mapping[str, torch.Tensor]) -> torch.Tensor:
        import torch

        from tunewise.models.value_head import values_of, watched

        with watched(model) as seen:
            log_probs_M1 = super().looked_at(model, batch)
        return torch.cat([log_probs_M1, values_of(model, seen[-1], batch)[:, None]], dim=1)

    def outputs(self, model: nn.Module, batch: Mapping[str, torch.Tensor]) -> torch.Tensor:
        """(A, 4), as for all; the loss holds that of the value head."""
        import torch

        from tunewise.models.value_head import values_of, watched

        with watched(model) as seen:
            numbers_A4 = super().outputs(model, batch)
        values_M = values_of(model, seen[-1], batch)
        errors_M = policy.value_loss(values_M, batch["signal_values"], batch["signal_returns"], self.options.value_clip)
        tokens_A = numbers_A4[:, 1].detach().long()
        answer_M = torch.arange(len(tokens_A), device=tokens_A.device).repeat_interleave(tokens_A)
        errors_A = errors_M.new_zeros(len(tokens_A)).index_add(0, answer_M, errors_M)
        whole_A = numbers_A4[:, 0] + self.options.value_weight * errors_A
        return torch.cat([whole_A[:, None], numbers_A4[:, 1:]], dim=1)

    # ---- advantages and loss

    def signals(self, judged: Judged) -> dict[str, torch.Tensor]:
        rewards_K = judged.log_probs_K.new_zeros(len(judged.log_probs_K))
        if self.options.beta:
            rewards_K = -self.controller.weight * policy.k1(judged.log_probs_K, judged.reference_K)
        last_A = judged.lengths_NG.flatten().cumsum(0) - 1
        rewards_K[last_A] += judged.rewards_NG.flatten().to(rewards_K.dtype)
        advantages_K = self._advantages(judged, rewards_K)
        returns_K = advantages_K + judged.values_K
        if self.options.whiten:
            advantages_K = policy.whitened(advantages_K)
        return {
            "advantages": advantages_K,
            "old": judged.log_probs_K,
            "values": judged.values_K,
            "returns": returns_K,
        }

    def _advantages(self, judged: Judged, rewards_K: torch.Tensor) -> torch.Tensor:
        import torch

        lengths_A = judged.lengths_NG.flatten()
        held_AT = torch.arange(int(lengths_A.max()), device=lengths_A.device) < lengths_A[:, None]
        rewards_AT, values_AT = rewards_K.new_zeros(held_AT.shape), rewards_K.new_zeros(held_AT.shape)
        rewards_AT[held_AT], values_AT[held_AT] = rewards_K, judged.values_K
        found_AT = policy.generalised_advantages(
            rewards_AT, values_AT, held_AT, self.options.gamma, self.options.gae_lambda
        )
        return found_AT[held_AT]

    def token_losses(
        self, log_probs_M: torch.Tensor, answer_M: torch.Tensor, signals: Mapping[str, torch.Tensor], answers: int
    ) -> tuple[torch.Tensor, torch.Tensor]:
        losses_M, held_M = policy.clipped_surrogate(
            log_probs_M - signals["old"], signals["advantages"], self.options.clip, self.options.clip_high
        )
        held_A = losses_M.new_zeros(answers).index_add(0, answer_M, held_M.float())
        return policy.answer_losses(losses_M, answer_M, answers, "dapo"), held_A

    # ---- the weight of the KL

    def after_round(self, judged: Judged) -> None:
        if self.options.beta:
            self.controller.update(float(judged.kl_NG.mean()), judged.rewards_NG.numel())

    def state(self) -> dict[str, float]:
        return {"kl_weight": self.controller.weight}

    def restore(self, state: Mapping[str, float]) -> None:
        self.controller.weight = state["kl_weight"]
