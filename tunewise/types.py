"""The types that pass between rooms. Frozen, printable, free of heavy imports.

Shape legend used in docstrings: n rows, C labels.
"""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import asdict, dataclass, field
from fnmatch import fnmatchcase
from typing import TYPE_CHECKING, Any, Literal

if TYPE_CHECKING:
    import numpy as np

Task = Literal["classification", "multilabel", "regression"]
Handover = Literal["transformers", "peft", "tunewise"]


# ---------------------------------------------------------------- data


@dataclass(frozen=True)
class Schema:
    """What the data is: task, columns and label names (in the order of the model's outputs)."""

    task: Task
    text: tuple[str, ...]
    label: str
    labels: tuple[str, ...] = ()

    @property
    def outputs(self) -> int:
        """How many numbers the model gives per row: one per label, 1 for regression."""
        return len(self.labels) if self.labels else 1


@dataclass(frozen=True, eq=False)
class Split:
    """Rows that are used for one purpose.

    `texts` has one tuple per row, of one string or two (a sentence pair). `targets` is int64 (n,) for
    classification, float32 (n, C) of 0 and 1 for multi-label, float32 (n,) for regression. `rows` is int64 (n,):
    the number of each row in its source, the first data row being 1. `columns` keeps the other columns as strings.
    """

    name: str
    texts: tuple[tuple[str, ...], ...]
    targets: np.ndarray
    rows: np.ndarray
    source: str
    columns: Mapping[str, tuple[str, ...]] = field(default_factory=dict)

    def __len__(self) -> int:
        return len(self.texts)


@dataclass(frozen=True)
class DataStep:
    """One thing that was done to the data, with its count: nothing is dropped or changed in silence."""

    name: str
    rows_in: int
    rows_out: int
    reason: str


@dataclass(frozen=True, eq=False)
class DataBundle:
    """Everything that training and evaluation read.

    `splits` holds `train`, `validation`, and one or more test sets: `test`, or the names the recipe gives.
    `fingerprint` is a sha256 over schema, texts, targets and the assignment to splits.
    """

    splits: Mapping[str, Split]
    schema: Schema
    steps: tuple[DataStep, ...]
    fingerprint: str

    @property
    def tests(self) -> dict[str, Split]:
        return {name: split for name, split in self.splits.items() if name not in ("train", "validation")}


@dataclass(frozen=True, eq=False)
class Predictions:
    """What a model says of a split.

    `scores` is float64: probabilities (n, C) for classification (rows sum to 1) and multi-label (each on its own),
    values (n,) for regression. `decisions` is int64 (n,), 0/1 (n, C), or the values again. `targets` and `rows` as in
    Split.
    """

    scores: np.ndarray
    decisions: np.ndarray
    targets: np.ndarray
    rows: np.ndarray


# ---------------------------------------------------------------- models

TensorKind = Literal["embedding", "attention", "feed_forward", "norm", "bias", "head", "other"]


@dataclass(frozen=True)
class TensorInfo:
    """A parameter under the original model's name; `pretrained` is False where the checkpoint does not hold it."""

    name: str
    shape: tuple[int, ...]
    kind: TensorKind
    pretrained: bool = True

    @property
    def size(self) -> int:
        total = 1
        for length in self.shape:
            total *= length
        return total


@dataclass(frozen=True)
class Block:
    """One of the repeated layers. `attention` and `feed_forward` are the paths of the modules that close each half
    (the projections whose output goes into the residual sum), `linear` those of all linear modules."""

    index: int
    path: str
    tensors: tuple[TensorInfo, ...]
    attention: tuple[str, ...] = ()
    feed_forward: tuple[str, ...] = ()
    linear: tuple[str, ...] = ()


@dataclass(frozen=True)
class Chain:
    """A stack of blocks in execution order, with what comes before it."""

    name: str
    embedding: tuple[TensorInfo, ...]
    blocks: tuple[Block, ...]


@dataclass(frozen=True)
class ModelMap:
    """What a model is made of, in execution order. Made by `models.blocks.map_model`."""

    family: str
    width: int
    chains: tuple[Chain, ...]
    head: tuple[TensorInfo, ...]

    @property
    def blocks(self) -> tuple[Block, ...]:
        """All blocks, bottom first."""
        return tuple(block for chain in self.chains for block in chain.blocks)

    @property
    def embedding(self) -> tuple[TensorInfo, ...]:
        return tuple(tensor for chain in self.chains for tensor in chain.embedding)

    @property
    def groups(self) -> tuple[tuple[TensorInfo, ...], ...]:
        """Embedding, each block, head: every tensor is in exactly one group."""
        return (self.embedding, *(block.tensors for block in self.blocks), self.head)

    @property
    def tensors(self) -> tuple[TensorInfo, ...]:
        return tuple(tensor for group in self.groups for tensor in group)


# ---------------------------------------------------------------- plans


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
    """A configuration class of the peft library, by name, with its options."""

    config: str
    options: Mapping[str, Any]
    positions: int = 0


@dataclass(frozen=True)
class ModuleInsert:
    """Wraps the modules at the paths in `where`.

    `build` names a function as `package.module:function`; it is called as `build(module, **options)` and returns the
    module that takes the place of the old one, which it must keep as its attribute `base_layer`, so that names stay.
    """

    build: str
    where: tuple[str, ...]
    options: Mapping[str, Any] = field(default_factory=dict)
    positions: int = 0


@dataclass(frozen=True)
class Solver:
    """How the plan is carried out: `gradient` descent, or `features`: embeddings once, then a closed solver."""

    name: Literal["gradient", "features"] = "gradient"
    options: Mapping[str, Any] = field(default_factory=dict)


@dataclass(frozen=True)
class Plan:
    """What a method decides, as data.

    `rules`: the first that matches a tensor's name decides; no match means frozen. `reset`: patterns of tensors that
    start from random values instead of the pretrained ones. `until`: the optimiser step at which the method wants to
    plan again (None: never).
    """

    rules: tuple[Rule, ...]
    learning_rate: float
    inserts: tuple[PeftInsert | ModuleInsert, ...] = ()
    solver: Solver = Solver()
    reset: tuple[str, ...] = ()
    until: int | None = None

    def rule_for(self, name: str) -> Rule | None:
        return next((rule for rule in self.rules if rule.matches(name)), None)

    def as_dict(self) -> dict[str, Any]:
        return asdict(self)


@dataclass(frozen=True)
class Signals:
    """What the engine tells a method when it asks for a plan."""

    step: int = 0
    total_steps: int = 1
    steps_per_epoch: int = 1
    task: Task = "classification"


# ---------------------------------------------------------------- results

Status = Literal["finished", "failed", "interrupted", "running", "pending"]


@dataclass(frozen=True)
class Score:
    """A metric with its bootstrap confidence interval."""

    value: float
    low: float
    high: float


@dataclass(frozen=True)
class Costs:
    """What a run costs. `train_seconds` is the time in optimiser steps (for `features`: embedding and solving),
    `total_seconds` everything from the start of the process to the saved record. FLOPs are those of training, without
    evaluation; one multiply-add is 2 FLOPs. `peak_memory_bytes` is the resident memory of the process (on a GPU:
    of the device). `saved_bytes` counts the files of the model handed over."""

    train_seconds: float
    total_seconds: float
    peak_memory_bytes: int
    forward_flops: float
    backward_flops: float
    trainable_parameters: int
    total_parameters: int
    saved_bytes: int
    predict_ms_per_example: float
