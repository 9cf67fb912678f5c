"""What a training needs besides net and method."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass, field
from functools import cached_property

import torch

from tunewise.commit import Series, default_cache
from tunewise.data.augment_settings import AugmentConfig
from tunewise.engine.before_training import Untrained
from tunewise.engine.device import Tuned
from tunewise.engine.events import Observers, Warned
from tunewise.engine.kept import Context
from tunewise.engine.loop import Training
from tunewise.engine.rollouts import Judging
from tunewise.engine.settings import TrainConfig
from tunewise.engine.stack import ALONE, Alone
from tunewise.engine.stop import Stop
from tunewise.evaluate.evaluator import Evaluator
from tunewise.models.memory import PassSize
from tunewise.objectives.base import Objective
from tunewise.types import DataBundle


@dataclass
class Job:
    """Everything that a training needs besides net and method. `loop` carries out gradient descent; it is made from the
    fields of `Training` (an estimate puts another in its place). `handed_over`: bytes of the model, where it holds more
    than what trains; `synonym_rows`: find synonyms of so many rows only (an estimate does); `untrained`: tells what the
    model says before it trains (an estimate puts another in its place);
    `rewards`: makes what judges, where the model writes; `stack`: passes over the model, alone or with other runs."""

    objective: Objective
    data: DataBundle
    evaluator: Evaluator
    metric: str
    config: TrainConfig
    tuned: Tuned
    seed: int
    observers: Observers
    label: str
    checkpoints: Series
    stop: Stop
    fingerprint: str
    loop: Callable[..., Training] = Training
    untrained: Callable[..., Untrained] = Untrained
    handed_over: int = 0
    augment: AugmentConfig = field(default_factory=AugmentConfig)
    rewards: Callable[[Job], Judging] | None = None
    synonym_rows: int | None = None
    stack: Alone = ALONE

    @cached_property
    def pass_size(self) -> PassSize:
        """Of the batches of all passes without gradients: what did not fit once is not tried again."""
        return PassSize(tell=lambda message: self.observers.emit(Warned(message)))

    @cached_property
    def context(self) -> Context | None:
        """How this run reads through the cache; None where the recipe wants none. Made once: it looks through what the
        cache holds."""
        if not self.config.cache:
            return None

        def warn(message: str) -> None:
            self.observers.emit(Warned(message))

        return Context(
            store=default_cache(warn),
            autocast=self.tuned.autocast,
            precision=self.tuned.precision,
            device=torch.device(self.tuned.device),
            data=self.data.splits["train"].source,
            stop=self.stop.check,
            warn=warn,
        )
