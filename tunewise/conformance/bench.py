"""A tiny model on its toy data: loaded, trained and asked, as a run does it."""

from __future__ import annotations

from dataclasses import dataclass, field
from functools import cached_property
from pathlib import Path
from typing import ClassVar

import numpy as np

from tunewise.commit import Series
from tunewise.conformance.models import IMAGE, IMAGE_SIZES, TIMM, make_folder
from tunewise.conformance.toy_data import IMAGE_SIZE, toy_images, toy_texts
from tunewise.data.pixels import Pixels
from tunewise.engine.device import Tuned
from tunewise.engine.events import Observer, Observers, Started, Step
from tunewise.engine.feature_head import FeatureHead
from tunewise.engine.job import Job
from tunewise.engine.settings import TrainConfig
from tunewise.engine.stop import Stop
from tunewise.engine.train import Trained, descend, outputs, train
from tunewise.evaluate.evaluator import Evaluator
from tunewise.evaluate.metrics import default_metric
from tunewise.evaluate.predict import predict_logits
from tunewise.evaluate.settings import EvaluateConfig
from tunewise.methods import Method
from tunewise.models.load import Net, load_net
from tunewise.models.locate import locate
from tunewise.models.located import LocatedModel
from tunewise.objectives import ObjectiveConfig, make_objective
from tunewise.types import DataBundle, Plan

ROWS, HELD_OUT, SEED = 24, 6, 0
# Decay is high, so that a frozen tensor that decays would show; no dropout, so that losses can be compared.
CONFIG = TrainConfig(
    max_steps=16, batch_size=12, weight_decay=0.3, evaluate_every=16, keep_best=False, dropout=0.0, device="cpu"
)


@dataclass
class Watch(Observer):
    """Whether the training began, and the loss of each step."""

    started: bool = False
    losses: list[float] = field(default_factory=list)

    def on_started(self, event: Started) -> None:
        self.started = True

    def on_step(self, event: Step) -> None:
        self.losses.append(event.loss)


@dataclass(frozen=True)
class Bench:
    """Everything to train a method on the model of one family; `images` where it reads those; `language` where it
    gives the next token."""

    family: str
    located: LocatedModel
    data: DataBundle
    images: dict[str, Pixels] | None = None
    language: bool = False
    learned: ClassVar[float] = 0.98  # the share of its loss that a model has after training, at most
    chance: ClassVar[float | None] = None  # how often what an update of the same size does by chance the fall must be

    @classmethod
    def make(cls, family: str, folder: Path) -> Bench:
        """Makes the model in the folder."""
        reads_text, size = family not in (*IMAGE, *TIMM), IMAGE_SIZES.get(family, IMAGE_SIZE)
        located = locate(str(make_folder(family, folder)), folder, reads_text=reads_text)
        data, images = (toy_texts(ROWS, HELD_OUT), None) if reads_text else toy_images(ROWS, HELD_OUT, size)
        return cls(family, located, data, images)

    def net(self) -> Net:
        """The untouched model, the same each time."""
        return load_net(self.located, self.data.schema, seed=SEED, dropout=CONFIG.dropout)

    @property
    def config(self) -> TrainConfig:
        return CONFIG

    def train(self, method: Method, folder: Path, watch: Watch) -> Trained:
        """Trains on the toy data. A `MethodError` before `watch.started` means that the method refuses the model."""
        job = self.job(method, folder, watch)
        if self.images is None or not method.descends:
            return train(self.net(), method, job)
        return descend(self.net(), method, job, self.images)

    def job(self, method: Method, folder: Path, watch: Watch) -> Job:
        """What a training needs besides net and method."""
        return Job(
            objective=make_objective(ObjectiveConfig(), self.data),
            data=self.data,
            evaluator=Evaluator(self.data.schema, EvaluateConfig(), folder),
            metric=default_metric(self.data.schema.task),
            config=self.config,
            tuned=Tuned("cpu", "fp32", 1),
            seed=SEED,
            observers=Observers([watch]),
            label=method.name,
            checkpoints=Series(folder / "checkpoints"),
            stop=Stop(),
            fingerprint="toy",
        )

    def logits(self, net: Net, plan: Plan | None = None, head: FeatureHead | None = None) -> np.ndarray:
        """Outputs (n, C) for the training rows."""
        if self.images is not None and head is None:
            return predict_logits(net.model, self.images["train"], ROWS)
        return outputs(net, plan, head, self.data.splits["train"].texts, ROWS)

    @cached_property
    def base_logits(self) -> np.ndarray:
        return self.logits(self.net())

    def loss(self, logits_NC: np.ndarray) -> float:
        """Mean cross-entropy on the training rows."""
        targets = self.data.splits["train"].targets
        shifted = logits_NC.astype(np.float64) - logits_NC.max(axis=1, keepdims=True)
        return float(np.mean(np.log(np.exp(shifted).sum(axis=1)) - shifted[np.arange(len(targets)), targets]))
