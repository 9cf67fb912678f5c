"""What a fine-tuning method is: one verb, `plan`.

A method is one file in this folder and one line in `METHODS` (`methods/__init__.py`). It decides which tensors train,
at which rate, and what is inserted, as a Plan; the engine carries it out. It imports neither torch nor the engine.
"""

from __future__ import annotations

from abc import ABC, abstractmethod
from typing import ClassVar, Literal, NoReturn

from pydantic import Field

from tunewise.config.base import Config as BaseConfig
from tunewise.errors import MethodError
from tunewise.types import IMAGE_GENERATION, LABEL_TASKS, LANGUAGE_TASKS, Handover, ModelMap, Need, Plan, Signals, Task

Group = Literal[
    "frozen features",
    "full and partial",
    "rates and schedules",
    "norms and biases",
    "adaptive",
    "low-rank and multiplicative",
    "prompts",
    "additive",
    "controls",
    "others",
]
"""Families of methods, in the order in which they are listed."""


class MethodConfig(BaseConfig):
    """Options that every method of gradient descent has."""

    learning_rate: float | None = Field(default=None, gt=0)
    """Peak learning rate of this method. Where left out: `train.learning_rate`, else the method's default."""

    rate_scale: float = Field(default=1.0, gt=0)
    """Multiplies the learning rate, whether given or the default."""


class Method(ABC):
    """A way to fine-tune.

    Attributes:
        name: the name in recipes and on the command line.
        trains: what it trains, in a few words.
        source: paper or book that the method comes from.
        group: the family that it is listed with.
        handover: the kind of folder the trained model becomes.
        packages: importable packages it needs beyond the core, imported before the first run.
        tasks: what it can be used for.
        modalities: what it can read.
        control: whether it is there to compare with, never to be recommended.
        descends: whether it trains by gradient descent (else by a closed solver).
        instead: the nearest method for models that it cannot work with.
        stacks: whether runs of it that differ in their rates alone can train in one pass over the base: it has one
            plan, and all that trains are low-rank updates of linear layers and the head.
        starts_unchanged: whether its output before the first step is the base model's.
        Config: its options.
    """

    name: ClassVar[str]
    trains: ClassVar[str]
    source: ClassVar[str]
    group: ClassVar[Group] = "others"
    handover: ClassVar[Handover] = "transformers"
    packages: ClassVar[tuple[str, ...]] = ()
    tasks: ClassVar[tuple[Task, ...]] = (*LABEL_TASKS, *LANGUAGE_TASKS, IMAGE_GENERATION)
    modalities: ClassVar[tuple[Literal["text", "image"], ...]] = ("text", "image")
    control: ClassVar[bool] = False
    descends: ClassVar[bool] = True
    instead: ClassVar[str] = "last_k"
    stacks: ClassVar[bool] = False
    starts_unchanged: ClassVar[bool] = True
    Config: ClassVar[type[BaseConfig]] = MethodConfig

    def __init__(self, config: BaseConfig):
        self.config = config
        self.default_scale = 1.0  # what the objective has the default learning rate multiplied by

    @abstractmethod
    def plan(self, model: ModelMap, signals: Signals) -> Plan:
        """Decides what to train.

        Raises:
            MethodError: the method cannot work with this model.
        """

    def needs(self, model: ModelMap, signals: Signals) -> tuple[Need, ...]:
        """What to measure before the plan that `signals` ask for."""
        return ()

    def refuse(self, reason: str, instead: str | None = None) -> NoReturn:
        """Says why this method cannot work with a model, and which one can: `instead`, or the nearest of the class.

        Raises:
            MethodError: always.
        """
        raise MethodError(f"{self.name}: {reason}", instead=instead or self.instead)

    @property
    def positions(self) -> int:
        """How many of the model's positions it takes from the text."""
        return 0

    @property
    def leaves_whole(self) -> bool:
        """Whether what it trains can be part of a whole model: nothing is inserted, or can be merged into weights."""
        return self.handover == "transformers" or "merge" in self.Config.model_fields

    @property
    def merged(self) -> bool:
        """Whether what was inserted is merged into the model before it is handed over."""
        return False

    @classmethod
    def default_learning_rate(cls, model: ModelMap) -> float:
        """The peak learning rate where the recipe gives none. Full fine-tuning: 5e-5 (768 / width)^2, at most 3e-4.
        That is 2.8e-5 at a width of 1024 (BERT-large: 2e-5 to 3e-5), 5e-5 at 768 (BERT), 2e-4 at 384 (MiniLM: the best
        of 1.5e-4, 2e-4, 2.8e-4 and 4e-4 on the validation rows of the example data), 3e-4 at 256 (ELECTRA-small)."""
        return min(3e-4, 5e-5 * (768 / model.width) ** 2)

    def learning_rate(self, model: ModelMap) -> float:
        given = self.config.learning_rate
        return self.config.rate_scale * (given or self.default_scale * self.default_learning_rate(model))
