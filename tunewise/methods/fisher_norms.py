"""The part of the norms that matters most: elements chosen by Fisher information, and the output layers."""

from __future__ import annotations

import numpy as np
from pydantic import Field

from tunewise.methods.base import Method, MethodConfig
from tunewise.methods.parts import new_head_rules, tensor_rules, vector_learning_rate
from tunewise.models.masks import mask_of
from tunewise.types import ModelMap, Need, Plan, Signals, TensorInfo


class FisherNormsConfig(MethodConfig):
    share: float = Field(default=0.2, gt=0, le=1)
    """Share of the norms' elements that train: those of the largest Fisher information, over all norms together."""

    batches: int = Field(default=8, ge=1)
    """Training batches on whose rows the Fisher information is measured; where rows are prompts, at most those of the
    first round, with their answers."""


class FisherNorms(Method):
    """Trains the elements of the norms' weights and biases with the largest empirical Fisher information F_i = mean
    over rows of (d loss of the row / d w_i)^2, measured once before the training; the others keep their bits."""

    name = "fisher_norms"
    group = "norms and biases"
    trains = "the fifth of the norms' elements with the most Fisher information, and the output layers"
    source = "ValizadehAslani and Liang 2024, LayerNorm: A Key Component in Parameter-Efficient Fine-Tuning"
    instead = "norms"
    Config = FisherNormsConfig

    def needs(self, model: ModelMap, signals: Signals) -> tuple[Need, ...]:
        return (Need("fisher", self.config.batches, tuple(tensor.name for tensor in self._norms(model))),)

    def plan(self, model: ModelMap, signals: Signals) -> Plan:
        norms, fisher = self._norms(model), signals.measures["fisher"]
        together = np.concatenate([fisher[tensor.name].ravel() for tensor in norms])
        chosen = np.zeros(len(together), dtype=bool)
        count = max(1, round(self.config.share * len(together)))
        chosen[np.argsort(-together, kind="stable")[:count]] = True
        ends = np.cumsum([tensor.size for tensor in norms])
        marks = dict(zip(norms, np.split(chosen, ends[:-1]), strict=True))
        return Plan(
            rules=(*tensor_rules(tensor for tensor in norms if marks[tensor].any()), *new_head_rules(model)),
            learning_rate=self.learning_rate(model),
            masks=tuple(mask_of(t.name, marks[t]) for t in norms if marks[t].any() and not marks[t].all()),
        )

    def _norms(self, model: ModelMap) -> list[TensorInfo]:
        norms = [tensor for tensor in model.tensors if tensor.kind == "norm"]
        if not norms:
            self.refuse(f"the norms of a '{model.family}' model have no weights", instead="last_k")
        return norms

    @classmethod
    def default_learning_rate(cls, model: ModelMap) -> float:
        """As `norms`: 1e-3 (768 / width), at most 3e-3."""
        return vector_learning_rate(model)
