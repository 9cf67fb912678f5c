"""What a fine-tuning method is: one verb, `plan`.

A method is one file in this folder and one line in `METHODS` (`methods/__init__.py`). It decides which tensors train,
at which rate, and what is inserted, as a Plan; the engine carries it out. It imports neither torch nor the engine.
"""

from __future__ import annotations

from abc import ABC, abstractmethod
from typing import ClassVar

from pydantic import Field

from tunewise.config.base import Config as BaseConfig
from tunewise.types import Handover, ModelMap, Plan, Signals, Task


class MethodConfig(BaseConfig):
    """Options that every method of gradient descent has."""

    learning_rate: float | None = Field(default=None, gt=0)
    """Peak learning rate of this method. Where left out: `train.learning_rate`, else the method's default."""


class Method(ABC):
    """A way to fine-tune.

    Attributes:
        name: the name in recipes and on the command line.
        trains: what it trains, in a few words.
        source: paper or book that the method comes from.
        handover: the kind of folder the trained model becomes.
        packages: importable packages it needs beyond the core, imported before the first run.
        tasks: what it can be used for.
        control: whether it is there to compare with, never to be recommended.
        Config: its options.
    """

    name: ClassVar[str]
    trains: ClassVar[str]
    source: ClassVar[str]
    handover: ClassVar[Handover] = "transformers"
    packages: ClassVar[tuple[str, ...]] = ()
    tasks: ClassVar[tuple[Task, ...]] = ("classification", "multilabel", "regression")
    control: ClassVar[bool] = False
    Config: ClassVar[type[BaseConfig]] = MethodConfig

    def __init__(self, config: BaseConfig):
        self.config = config

    @abstractmethod
    def plan(self, model: ModelMap, signals: Signals) -> Plan:
        """Decides what to train.

        Raises:
            MethodError: the method cannot work with this model.
        """

    @classmethod
    def default_learning_rate(cls, model: ModelMap) -> float:
        """The peak learning rate where the recipe gives none. Full fine-tuning: 5e-5 at a width of 768 (BERT), with
        the inverse square of the width: 3e-5 at 1024 (BERT-large), 2e-4 at 384 (MiniLM; on the example data the best
        of 1e-4, 2e-4, 4e-4), 4.5e-4 at 256 (ELECTRA-small: 3e-4); never above 5e-4."""
        return min(5e-4, 5e-5 * (768 / model.width) ** 2)

    def learning_rate(self, model: ModelMap) -> float:
        return self.config.learning_rate or self.default_learning_rate(model)
