"""The types that pass between rooms. Frozen, printable, free of heavy imports.

Shape legend used in docstrings: n rows, C labels, W most words in a row.
"""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import asdict, dataclass, field
from fnmatch import fnmatchcase
from typing import TYPE_CHECKING, Any, Literal

if TYPE_CHECKING:
    import numpy as np

Task = Literal["classification", "multilabel", "regression", "token_classification"]
Handover = Literal["transformers", "peft", "tunewise"]
Kept = Literal["head", "tail", "both"]
"""Which end of a text that is too long is kept: its beginning, its end, or some of both."""
CARD = "README.md"
"""The file of a model folder that people may edit."""


# ---------------------------------------------------------------- data

CUT, NO_WORD = -1, -2
"""In the place of a word's first token: the word has none, since it was cut off; the row has no such word."""


@dataclass(frozen=True)
class Schema:
    """What the data is: task, columns and label names (in the order of the model's outputs). Without text columns, its
    rows are images."""

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
    classification, float32 (n, C) of 0 and 1 for multi-label, float32 (n,) for regression. For token classification a
    row's string is its words with a space between each (`data.sentences`), and `targets` is int64 (n, W): a tag for
    each word, then -1. `rows` is int64 (n,): the number of each row in its source, the first data row being 1.
    `columns` keeps the other columns as strings.
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
    """One thing that was done to the data, with its count: nothing is dropped or changed in silence. `rows` are the
    numbers (from 1) of those changed or left out, where the step knows; a record keeps the reason, which names some."""

    name: str
    rows_in: int
    rows_out: int
    reason: str
    rows: tuple[int, ...] = ()

    def as_dict(self) -> dict[str, Any]:
        """What a record keeps."""
        return {"name": self.name, "rows_in": self.rows_in, "rows_out": self.rows_out, "reason": self.reason}


@dataclass(frozen=True, eq=False)
class DataBundle:
    """Everything that training and evaluation read.

    `splits` holds `train`, `validation`, and one or more test sets: `test`, or the names the recipe gives.
    `fingerprint` is a sha256 over schema, texts, targets and the assignment to splits. `drawn_from`: the texts of all
    training rows, in order, where the recipe uses a share of them.
    """

    splits: Mapping[str, Split]
    schema: Schema
    steps: tuple[DataStep, ...]
    fingerprint: str
    drawn_from: tuple[tuple[str, ...], ...] = ()

    @property
    def tests(self) -> dict[str, Split]:
        return {name: split for name, split in self.splits.items() if name not in ("train", "validation")}


@dataclass(frozen=True, eq=False)
class Predictions:
    """What a model says of a split.

    `scores` is float64: probabilities (n, C) for classification (rows sum to 1) and multi-label (each on its own),
    values (n,) for regression. `decisions` is int64 (n,), 0/1 (n, C), or the values again. Token classification:
    probabilities (n, W, C), NaN where a row has no such word, and decisions (n, W), -1 there. `targets` and `rows` as
    in Split.
    """

    scores: np.ndarray
    decisions: np.ndarray
    targets: np.ndarray
    rows: np.ndarray


# ---------------------------------------------------------------- models

TensorKind = Literal["embedding", "attention", "feed_forward", "conv", "norm", "bias", "head", "other"]


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
    (the projections whose output goes into the residual sum), `linear` those of all linear modules, `conv` those of all
    convolutions. A block with convolutions has no halves."""

    index: int
    path: str
    tensors: tuple[TensorInfo, ...]
    attention: tuple[str, ...] = ()
    feed_forward: tuple[str, ...] = ()
    linear: tuple[str, ...] = ()
    conv: tuple[str, ...] = ()


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
    modality: Literal["text", "image"] = "text"
    input_embedding: str = ""
    """Path of the module that turns token ids (or patches of pixels) into vectors: of a convolutional net, its first
    convolution."""

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
    far, measurements included; `measuring_flops`: on measurements alone, the present one included.
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
    """What a run costs. `train_seconds` is the time in optimiser steps and in filling the cache that they read (for
    `features`: embedding and solving),
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
