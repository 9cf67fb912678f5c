"""Learning from what the model writes itself, and what that is worth: what grpo, rloo and ppo share.

Shape legend: N prompts, G answers to each, A answers of a batch, K tokens of all answers of a round, M tokens of the
answers of a batch.
"""

from __future__ import annotations

from abc import abstractmethod
from collections.abc import Mapping
from dataclasses import dataclass
from typing import TYPE_CHECKING, Any, ClassVar

import numpy as np

from tunewise.data.conversations import encode_prompts
from tunewise.data.rollout_tokens import SIGNAL, PromptTokens
from tunewise.errors import RecipeError
from tunewise.objectives import policy
from tunewise.objectives.base import Loss, Objective

if TYPE_CHECKING:
    import torch
    from torch import nn

    from tunewise.data.inputs import Inputs
    from tunewise.objectives.policy_settings import PolicyConfig
    from tunewise.objectives.settings import ObjectiveConfig
    from tunewise.types import DataBundle, Split

SHORTEST_PROMPT = 4


@dataclass(frozen=True)
class Judged:
    """The answers of a round. `rewards_NG`, `lengths_NG` (tokens); of each token, in the order of the answers, what the
    model said when it wrote them and (where that is needed) what it said before training: log-probabilities (K,);
    `values_K` of the value head."""

    rewards_NG: torch.Tensor
    lengths_NG: torch.Tensor
    log_probs_K: torch.Tensor | None = None
    reference_K: torch.Tensor | None = None
    values_K: torch.Tensor | None = None

    @property
    def answer_K(self) -> torch.Tensor:
        """Which answer each token is of."""
        lengths_A = self.lengths_NG.flatten()
        return (lengths_A.new_ones(len(lengths_A)).cumsum(0) - 1).repeat_interleave(lengths_A)

    def sums(self, values_K: torch.Tensor) -> torch.Tensor:
        """Of each answer, (N, G)."""
        sums_A = values_K.new_zeros(self.lengths_NG.numel()).index_add(0, self.answer_K, values_K)
        return sums_A.reshape(self.lengths_NG.shape)

    def of_tokens(self, values_NG: torch.Tensor) -> torch.Tensor:
        """A number of each answer, for each of its tokens: (K,)."""
        return values_NG.flatten()[self.answer_K]

    @property
    def kl_NG(self) -> torch.Tensor | None:
        """log p - log q summed over each answer, whose mean is the KL to the model before training."""
        if self.reference_K is None:
            return None
        return self.sums(policy.k1(self.log_probs_K, self.reference_K))


class PolicyOptimisation(Objective):
    """Writes, judges, and makes what did better than expected likelier.

    Attributes:
        options: of this objective.
        passes: optimiser steps with the answers of a round.
        needs_log_probs: whether the probabilities that the answers were written with are computed before the steps;
            else those of the one step take their place.
        needs_reference: whether those of the model before training are.
    """

    answers = "language"
    writes = True
    comparable = False
    name: ClassVar[str]
    has_values: ClassVar[bool] = False
    rate_scale = 0.1  # the published rates (1e-6 for whole models) are about a tenth of those of supervised tuning
    dropout = 0.0  # the ratio of probabilities is that of two models, not of two masks

    def __init__(self, config: ObjectiveConfig, data: DataBundle):
        super().__init__(config, data)
        options = getattr(config, self.name)
        if options is None:
            raise RecipeError(
                "rows are prompts, and nothing says what an answer is worth",
                where="objective",
                fix=f"give a reward, as in `objective: {{{self.name}: {{reward: my_rewards.py:brevity}}}}`",
            )
        self.options: PolicyConfig = options
        self.passes = options.updates

    @property
    def needs_log_probs(self) -> bool:
        return self.options.updates > 1 or self.needs_reference

    @property
    def needs_reference(self) -> bool:
        return bool(self.options.beta) or self.options.max_kl is not None

    def encode(self, split: Split, tokenizer: Any, max_length: int, encoder_decoder: bool) -> PromptTokens:
        room = max_length if encoder_decoder else max_length - self.options.max_new_tokens
        if room < SHORTEST_PROMPT:
            raise RecipeError(
                f"answers of {self.options.max_new_tokens} tokens leave {max(0, room)} for a prompt: the model reads "
                f"{max_length} in all",
                where=f"objective.{self.name}.max_new_tokens",
                fix=f"take {max_length // 2}, or a larger train.max_length where the model allows it",
            )
        found = encode_prompts(split, self.schema, tokenizer, room, encoder_decoder)
        return PromptTokens(found.ids, found.texts, len(found.cut_rows), found.lost, self.options.max_new_tokens)

    def targets(self, split: Split, inputs: Inputs) -> np.ndarray:
        """Nothing is known before the model has written: 0 for each row, float32 (N,)."""
        return np.zeros(len(inputs), dtype=np.float32)

    def items(self, judged: Judged) -> torch.Tensor:
        """What the sum of losses is divided by, of each row: float32 (N,); the targets of a round."""
        return policy.items(judged.lengths_NG, "dapo", self.options.max_new_tokens).sum(1)

    @abstractmethod
    def signals(self, judged: Judged) -> dict[str, torch.Tensor]:
        """What the loss reads of each token of a round, (K,): `advantages`, and what it takes besides."""

    @abstractmethod
    def token_losses(
        self, log_probs_M: torch.Tensor, answer_M: torch.Tensor, signals: Mapping[str, torch.Tensor], answers: int
    ) -> tuple[torch.Tensor, torch.Tensor]:
        """What each answer adds to the loss, and at how many of its tokens the limit holds, (A,) both."""

    def looked_at(self, model: nn.Module, batch: Mapping[str, torch.Tensor]) -> torch.Tensor:
        """What a round needs to know of the tokens to learn: log-probabilities (M, 1); with values, (M, 2)."""
        return self.log_probs(model, batch)

    def log_probs(self, model: nn.Module, batch: Mapping[str, torch.Tensor]) -> torch.Tensor:
        """Log-probabilities of the tokens to learn, (M, 1)."""
        from tunewise.models.token_losses import token_log_probs

        return token_log_probs(model, batch, temperature=self.options.temperature).log_probs_N[:, None]

    def outputs(self, model: nn.Module, batch: Mapping[str, torch.Tensor]) -> torch.Tensor:
        """(A, 4) of each answer: its loss, tokens, those that the limit holds, sum of their entropies (nats)."""
        import torch

        from tunewise.models.token_losses import token_log_probs

        signals = {name[len(SIGNAL) :]: values for name, values in batch.items() if name.startswith(SIGNAL)}
        read = {name: values for name, values in batch.items() if not name.startswith(SIGNAL)}
        found = token_log_probs(model, read, temperature=self.options.temperature, entropy=True)
        signals.setdefault("old", found.log_probs_N.detach())
        losses_A, held_A = self.token_losses(found.log_probs_N, found.row_N, signals, found.rows)
        zeros_A = torch.zeros_like(losses_A)
        tokens_A = zeros_A.index_add(0, found.row_N, torch.ones_like(found.log_probs_N))
        entropy_A = zeros_A.index_add(0, found.row_N, found.entropy_N)
        return torch.stack([losses_A, tokens_A, held_A, entropy_A], dim=1)

    def n_items(self, targets: torch.Tensor) -> float:
        return float(targets.sum()) or 1.0

    def loss(self, numbers_AK: torch.Tensor, targets: torch.Tensor) -> Loss:
        numbers_AK = numbers_AK.float()
        tokens, held, entropy = numbers_AK[:, 1:].detach().sum(0).tolist()
        told = {"clip_fraction": (held, tokens), "entropy": (entropy, tokens)}
        return Loss(numbers_AK[:, 0].sum(), self.n_items(targets), told)

    def validation_loss(self, numbers: np.ndarray, targets: torch.Tensor) -> float:
        """Minus the mean reward: what is minimised in truth. `numbers` as `ROW_NUMBERS` has them, (n, 3)."""
        return -float(numbers[:, 0].mean())

    def collapsed(self, figures: Mapping[str, float]) -> str | None:
        limits = self.options
        if limits.max_kl is not None and figures.get("kl", 0.0) > limits.max_kl:
            return (
                f"the answers are {figures['kl']:.3g} nats from the model before training, more than "
                f"objective.{self.name}.max_kl {limits.max_kl:g}"
            )
        if limits.min_entropy is not None and figures.get("entropy", np.inf) < limits.min_entropy:
            return (
                f"the entropy of the next token is {figures['entropy']:.3g} nats, less than "
                f"objective.{self.name}.min_entropy {limits.min_entropy:g}"
            )
        return None

    def after_round(self, judged: Judged) -> None:
        """Told of each round, after its signals were made."""

    def state(self) -> dict[str, float]:
        """What changes from round to round, for a checkpoint."""
        return {}

    def restore(self, state: Mapping[str, float]) -> None:
        """Takes up what `state` gave."""
