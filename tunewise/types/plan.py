"""What a method decides, and what it is told before, as data."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import asdict, dataclass, field
from fnmatch import fnmatchcase
from typing import TYPE_CHECKING, Any, Literal

from tunewise.types.data import Task

if TYPE_CHECKING:
    import numpy as np


Schedule = Literal["linear", "cosine", "constant", "slanted_triangular"]


@dataclass(frozen=True)
class Rule:
    """Which tensors train, and how fast.

    `pattern` is a shell pattern over tensor names (`*` matches any run of characters, dots too). `weight_decay` None
    means the run's own value on matrices and 0 on norms and biases.
    """

    pattern: str
    lr_scale: float = 1.0
    weight_decay: float | None = None

    def matches(self, name: str) -> bool:
        return fnmatchcase(name, self.pattern)


@dataclass(frozen=True)
class PeftInsert:
    """A configuration class of the peft library, by name, with its options.

    `splits_base`: it takes a part out of the weights that it stands at and trains that part (PiSSA); the adapter handed
    over is then the difference to the start, for the original weights.
    """

    config: str
    options: Mapping[str, Any]
    positions: int = 0
    splits_base: bool = False


@dataclass(frozen=True)
class ModuleInsert:
    """Wraps the modules at the paths in `where`.

    `build` names a function as `package.module:function`; it is called as `build(module, **options)` and returns the
    module that takes the place of the old one. So that names stay, it must keep the old one as its attribute
    `base_layer`, or have the same tensors itself (in another number format).
    """

    build: str
    where: tuple[str, ...]
    options: Mapping[str, Any] = field(default_factory=dict)
    positions: int = 0


@dataclass(frozen=True)
class Mask:
    """Which elements of a tensor train; the others keep their bits, under weight decay too. `bits` is base64 of the
    elements' marks in row-major order, eight to a byte (`numpy.packbits`); see `models.masks`."""

    name: str
    bits: str


@dataclass(frozen=True)
class Solver:
    """How the plan is carried out: `gradient` descent, or `features`: embeddings once, then a closed solver."""

    name: Literal["gradient", "features"] = "gradient"
    options: Mapping[str, Any] = field(default_factory=dict)


@dataclass(frozen=True)
class Plan:
    """What a method decides, as data.

    `rules`: the first that matches a tensor's name decides; no match means frozen. `masks`: tensors of which only a
    part trains. `reset`: patterns of tensors that start from random values instead of the pretrained ones. `until`: the
    optimiser step at which the method wants to plan again (None: never). `schedule`: in the place of the run's own.
    `virtual_tokens`: how many made-up ids (from the vocabulary's size on) are put into each text, behind the token that
    opens it; an insert at the input embedding gives them vectors.
    """

    rules: tuple[Rule, ...]
    learning_rate: float
    inserts: tuple[PeftInsert | ModuleInsert, ...] = ()
    masks: tuple[Mask, ...] = ()
    solver: Solver = Solver()
    reset: tuple[str, ...] = ()
    until: int | None = None
    schedule: Schedule | None = None
    virtual_tokens: int = 0

    def rule_for(self, name: str) -> Rule | None:
        return next((rule for rule in self.rules if rule.matches(name)), None)

    def as_dict(self) -> dict[str, Any]:
        return asdict(self)

    @classmethod
    def from_dict(cls, stored: Mapping[str, Any]) -> Plan:
        """The plan that `as_dict` gave; other keys are left alone."""
        inserts = tuple(
            PeftInsert(**entry) if "config" in entry else ModuleInsert(**{**entry, "where": tuple(entry["where"])})
            for entry in stored["inserts"]
        )
        return cls(
            rules=tuple(Rule(**rule) for rule in stored["rules"]),
            learning_rate=stored["learning_rate"],
            inserts=inserts,
            masks=tuple(Mask(**mask) for mask in stored.get("masks", ())),
            solver=Solver(**stored["solver"]),
            reset=tuple(stored["reset"]),
            until=stored["until"],
            schedule=stored.get("schedule"),
            virtual_tokens=stored.get("virtual_tokens", 0),
        )


@dataclass(frozen=True)
class Need:
    """A measurement on training rows that a method asks for before it plans; it leaves the model as it was.

    Kinds, each giving one array per tensor:
        importance: by how much the loss falls through this tensor's part of one real optimiser step of all tensors, to
            first order (-sum of step x gradient after it), on the rows of `batches` steps taken as one; 0-d.
        gradient_norm: Euclidean norm of the mean gradient over the rows of `batches` steps; 0-d.
        fisher: mean over the rows of `batches` steps of the squared gradient of the row's own loss; the tensor's
            shape.
        angle: between the weights before and after `batches` steps of full fine-tuning, in radians; 0-d.

    `tensors`: patterns of the names of those to report. `learning_rate`: the peak rate of the steps taken (importance,
    angle); where left out, the method's.
    """

    kind: Literal["importance", "gradient_norm", "fisher", "angle"]
    batches: int = 1
    tensors: tuple[str, ...] = ("*",)
    learning_rate: float | None = None

    def wants(self, name: str) -> bool:
        return any(fnmatchcase(name, pattern) for pattern in self.tensors)


@dataclass(frozen=True)
class TensorFlops:
    """FLOPs of an average optimiser step that a tensor's gradient costs (`weight`), and those of passing the gradient
    on to what comes before its layer (`input`): the gradient of tensor k costs its own `weight` and the `input` of
    every tensor after it. In execution order of the layers."""

    name: str
    weight: float
    input: float


@dataclass(frozen=True, eq=False)
class Signals:
    """What the engine tells a method when it asks for a plan.

    The rest only for methods with needs. `measures`: what it asked for, by kind and tensor. `flops`: of each tensor,
    first executed first, and `forward_flops` of the forward pass, both per optimiser step, averaged over the steps to
    come. `full_flops`: of the whole training if every tensor trained in every step; `spent_flops`: what it has spent so
    far, measurements included; both without what it takes the model to write what it learns from. `measuring_flops`: on
    measurements alone, the present one included.
    """

    step: int = 0
    total_steps: int = 1
    steps_per_epoch: int = 1
    task: Task = "classification"
    measures: Mapping[str, Mapping[str, np.ndarray]] = field(default_factory=dict)
    flops: tuple[TensorFlops, ...] = ()
    forward_flops: float = 0.0
    full_flops: float = 0.0
    spent_flops: float = 0.0
    measuring_flops: float = 0.0
