"""What is minimised, and what the model's outputs mean. One file per task or, for language models, per objective.

Shape legend: B rows of a batch, C labels or numbers of a row.
"""

from __future__ import annotations

from abc import ABC, abstractmethod
from collections.abc import Callable, Mapping
from contextlib import AbstractContextManager, nullcontext
from dataclasses import dataclass, field
from typing import TYPE_CHECKING, Any, ClassVar, Literal

if TYPE_CHECKING:
    import numpy as np
    import torch
    from torch import nn

    from tunewise.data.inputs import Inputs
    from tunewise.objectives.settings import ObjectiveConfig
    from tunewise.types import DataBundle, Plan, Split

OutputsOf = Callable[["Inputs", Callable[["nn.Module", Mapping[str, "torch.Tensor"]], "torch.Tensor"]], "np.ndarray"]

StepOutputs = Callable[[Callable[["nn.Module", Mapping[str, "torch.Tensor"]], "torch.Tensor"]], "torch.Tensor"]

Answers = Literal["labels", "language", "images"]
"""What a model is asked for: numbers for a row, the next token, or what is noise in an image."""


@dataclass(frozen=True)
class Loss:
    """`total` is the sum over the batch's items, `n_items` what it is divided by: sums of several batches divided by
    the sum of their items are the exact mean, however unequal the batches are. `told`: figures for the log, each a sum
    and what it is divided by."""

    total: torch.Tensor
    n_items: float
    told: Mapping[str, tuple[float, float]] = field(default_factory=dict)

    @property
    def mean(self) -> torch.Tensor:
        return self.total / self.n_items


class Objective(ABC):
    """Loss and meaning of the outputs. Made from the training rows, so that it is the same on resume.

    Attributes:
        answers: what kind of model it trains.
        rate_scale: by what a method's default learning rate is multiplied; never one that the recipe gives.
        dropout: in the place of the model's own, where the recipe says nothing; None keeps that.
        with_gradient: share of a batch's sequences that gradients go through.
        writes: it learns from what the model writes itself (`objectives.policy_optimisation`).
        comparable: its loss in training and in validation is the same quantity.
        passes: optimiser steps with the same rows, one after the other.
    """

    answers: ClassVar[Answers] = "labels"
    rate_scale: ClassVar[float] = 1.0
    dropout: ClassVar[float | None] = None
    with_gradient: ClassVar[float] = 1.0
    writes: ClassVar[bool] = False
    comparable: ClassVar[bool] = True
    passes: int = 1

    def __init__(self, config: ObjectiveConfig, data: DataBundle):
        self.config, self.schema = config, data.schema

    def encode(self, split: Split, tokenizer: Any, max_length: int, encoder_decoder: bool) -> Inputs | None:
        """What the model reads of a split, where that is more than its texts; None where the engine encodes texts.

        Args:
            encoder_decoder: the model has an encoder for prompts, and a decoder for what follows.
        """
        return None

    def prepare(self, inputs: Mapping[str, Inputs], outputs_of: OutputsOf) -> Mapping[str, Inputs]:
        """What the model reads of every split, with what the model says of it before it is trained, where the loss is
        about that (a reference); called once, before anything is inserted.

        Args:
            inputs: by split, as `encode` gave them.
            outputs_of: all outputs (n, C) of the untrained model for some of these inputs, without gradient.
        """
        return inputs

    def targets(self, split: Split, inputs: Inputs) -> np.ndarray:
        """What the loss compares the outputs of each row with; (n, ...), of the rows of `inputs`."""
        return split.targets

    def outputs(self, model: nn.Module, batch: Mapping[str, torch.Tensor]) -> torch.Tensor:
        """What the loss, and the metrics, are made of: (B, C) for the rows of a batch, as `Inputs.batch` gives it."""
        return model(**batch).logits

    def in_step(self, outputs_of: StepOutputs) -> AbstractContextManager[None]:
        """Inside, the gradients of an optimiser step are added up batch by batch: what its loss needs to know of all
        its rows together is computed when it is entered.

        Args:
            outputs_of: something (n, ...) of all rows of the step, as the model is now, without gradient.
        """
        return nullcontext()

    @abstractmethod
    def n_items(self, targets: torch.Tensor) -> float:
        """What the sum of losses over these rows is divided by."""

    @abstractmethod
    def loss(self, logits_BC: torch.Tensor, targets: torch.Tensor) -> Loss:
        """Loss of a batch from `outputs`, computed in fp32."""

    def divergence(self, logits_BC: torch.Tensor, others_BC: torch.Tensor, targets: torch.Tensor) -> torch.Tensor:
        """Sum over the batch's items of what R-Drop adds for two outputs of the same rows, weighted as their losses
        are: the mean of the KL divergences in both directions, in fp32."""
        raise NotImplementedError(f"{self.schema.task} has no probabilities to compare")

    def validation_loss(self, numbers: np.ndarray, targets: torch.Tensor) -> float:
        """The mean loss of all rows of a split from what the model says of them, (n, C)."""
        import torch

        return float(self.loss(torch.from_numpy(numbers), targets).mean)

    def collapsed(self, figures: Mapping[str, float]) -> str | None:
        """Why training is to stop after a step with these figures, in words; None where it goes on."""
        return None

    def attach(self, model: nn.Module) -> None:
        """Puts modules of its own beside the model, once it is as the method wants it."""

    def detach(self, model: nn.Module) -> None:
        """Takes them off again."""

    def with_own_rules(self, plan: Plan) -> Plan:
        """The plan with rules for these modules."""
        return plan

    def unscale(self, logits_BC: np.ndarray) -> np.ndarray:
        """The model's outputs in the unit of the targets."""
        return logits_BC

    def without_bias(self) -> None:
        """Told before training that the output layer has no bias, and so cannot carry an offset."""

    def fold(self, weight: torch.Tensor, bias: torch.Tensor | None) -> None:
        """Changes the trained output layer (in place) so that `unscale` has nothing left to do."""
