"""A tiny language model on its toy data: loaded, trained and asked, as a run does it."""

from __future__ import annotations

from dataclasses import dataclass
from functools import cached_property
from pathlib import Path
from typing import ClassVar

import numpy as np

from tunewise.conformance.bench import HELD_OUT, ROWS, SEED, Bench, Watch
from tunewise.conformance.language_models import HALVES, make_language_folder, toy_answers
from tunewise.data.tokenise import with_prompt
from tunewise.engine.feature_head import FeatureHead
from tunewise.engine.settings import TrainConfig
from tunewise.engine.train import Trained, train
from tunewise.evaluate.predict import predict_logits
from tunewise.methods import Method
from tunewise.methods.support import LANGUAGE
from tunewise.models.load import Net, load_net
from tunewise.models.locate import locate
from tunewise.models.token_losses import token_log_probs
from tunewise.objectives.sft import SupervisedFineTuning
from tunewise.types import Plan

STACK = 2
"""Blocks of a decoder, or of each half of an encoder-decoder."""


@dataclass(frozen=True)
class LanguageBench(Bench):
    """Supervised fine-tuning of a family's model. Its outputs are the sum of -ln p of each row's answer, and the number
    of its tokens: (n, 2)."""

    language: bool = True
    # Norms alone change the outputs of a random model little. The control tells that from luck.
    learned: ClassVar[float] = 0.99
    chance: ClassVar[float | None] = 1.5

    @classmethod
    def make(cls, family: str, folder: Path) -> LanguageBench:
        """Makes the model in the folder; `family` ends in `LANGUAGE`."""
        name = family.removesuffix(LANGUAGE)
        made = make_language_folder(name, folder, blocks=STACK * HALVES.get(name, 1))
        return cls(family, locate(str(made), folder), toy_answers(ROWS, HELD_OUT))

    def net(self) -> Net:
        return load_net(self.located, self.data.schema, seed=SEED, dropout=self.config.dropout, language=True)

    @property
    def config(self) -> TrainConfig:
        # More steps than for labels: a random model has to learn words.
        return super().config.model_copy(update={"max_steps": 48, "evaluate_every": 48})

    def train(self, method: Method, folder: Path, watch: Watch) -> Trained:
        task = self.data.schema.task
        if task not in method.tasks:
            method.refuse(f"it is for {' and '.join(method.tasks)}; the task is {task}")
        return train(self.net(), method, self.job(method, folder, watch))

    def logits(self, net: Net, plan: Plan | None = None, head: FeatureHead | None = None) -> np.ndarray:
        both = net.model.config.is_encoder_decoder
        read = self._objective.encode(self.data.splits["train"], net.tokenizer, net.max_length, both)
        read = with_prompt(read, net.prompt)
        return predict_logits(
            net.model, read, ROWS, outputs=lambda model, batch: token_log_probs(model, batch).row_numbers()[:, :2]
        )

    def loss(self, logits_NC: np.ndarray) -> float:
        """Mean of -ln p over the tokens of all answers."""
        return float(logits_NC[:, 0].sum(dtype=np.float64) / logits_NC[:, 1].sum(dtype=np.float64))

    @cached_property
    def _objective(self) -> SupervisedFineTuning:
        from tunewise.objectives import ObjectiveConfig

        return SupervisedFineTuning(ObjectiveConfig(), self.data)
