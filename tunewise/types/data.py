"""Data as it passes between rooms: schema, splits, what was done to them, what a model says of them.

Shape legend: n rows, C labels, W most words in a row.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field
from typing import TYPE_CHECKING, Any, Literal

if TYPE_CHECKING:
    import numpy as np

Task = Literal[
    "classification",
    "multilabel",
    "regression",
    "token_classification",
    "generation",
    "preference",
    "unpaired_preference",
    "prompts",
    "image_generation",
]
LABEL_TASKS: tuple[Task, ...] = ("classification", "multilabel", "regression", "token_classification")
LANGUAGE_TASKS: tuple[Task, ...] = ("generation", "preference", "unpaired_preference", "prompts")
"""Those whose rows are something to continue, without a label: text, chosen and rejected answers, prompts."""
IMAGE_GENERATION: Task = "image_generation"
"""That of images to draw the like of: with a class each, or without (then the schema has no labels)."""
Form = Literal["text", "completion", "chat"]
"""What a row of a language task is: a text; a prompt and what follows it; messages, each of someone in a role."""
Kept = Literal["head", "tail", "both"]
"""Which end of a text that is too long is kept: its beginning, its end, or some of both."""


CUT, NO_WORD = -1, -2
"""In the place of a word's first token: the word has none, since it was cut off; the row has no such word."""


@dataclass(frozen=True)
class Schema:
    """What the data is: task, columns and label names (in the order of the model's outputs). Without text columns, its
    rows are images, and `image` is their column. `form`: what a row of a language task is; None for all other tasks.
    `between`: what stands between prompt and answer where a decoder reads both as one text (form `completion`)."""

    task: Task
    text: tuple[str, ...]
    label: str
    labels: tuple[str, ...] = ()
    form: Form | None = None
    between: str = ""
    image: str = ""

    @property
    def columns(self) -> tuple[str, ...]:
        """The columns that a row is made of, beside its label."""
        return self.text or ((self.image,) if self.image else ())

    @property
    def is_language(self) -> bool:
        """Whether rows are something to continue: there are no labels."""
        return self.task in LANGUAGE_TASKS

    @property
    def has_labels(self) -> bool:
        """Whether rows have labels: classes, sets of them, tags or numbers."""
        return not self.is_language and (self.task != IMAGE_GENERATION or bool(self.labels))

    @property
    def gives_numbers(self) -> bool:
        """Whether a model answers with numbers of each row (`ROW_NUMBERS`), of which metrics are made."""
        return self.task in ROW_NUMBERS

    @property
    def outputs(self) -> int:
        """How many numbers the model gives per row: one per label, 1 for regression."""
        return len(self.labels) if self.labels else 1


@dataclass(frozen=True, eq=False)
class Split:
    """Rows that are used for one purpose.

    `texts` has one tuple per row, of one string or two (a sentence pair), packed (`data.packed_texts`); of images, one
    `data.picture.Picture`.
    `targets` is int64 (n,) for classification, float32 (n, C) of 0 and 1 for multi-label, float32 (n,) for regression.
    For token classification a row's string is its words with a space between each (`data.sentences`), and `targets` is
    int64 (n, W): a tag for each word, then -1.

    Language tasks: the row's strings are a text, or prompt and answer (generation, unpaired preference), prompt, chosen
    and rejected answer (preference), or a prompt (prompts). In the form `chat` each of them is a JSON list of messages
    (`chat.messages`), and a conversation to learn from is one such string. `targets` are float32 (n,): whether an
    answer is a good one (1 or 0) for unpaired preference, else 0.

    `rows` is int64 (n,): the number of each row in its source, the first data row being 1.
    `columns` keeps the other columns as strings.
    """

    name: str
    texts: Sequence[tuple[str, ...]]
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
    drawn_from: Sequence[tuple[str, ...]] = ()

    @property
    def tests(self) -> dict[str, Split]:
        return {name: split for name, split in self.splits.items() if name not in ("train", "validation")}


@dataclass(frozen=True, eq=False)
class Predictions:
    """What a model says of a split.

    `scores` is float64: probabilities (n, C) for classification (rows sum to 1) and multi-label (each on its own),
    values (n,) for regression. `decisions` is int64 (n,), 0/1 (n, C), or the values again. Token classification:
    probabilities (n, W, C), NaN where a row has no such word, and decisions (n, W), -1 there. Language tasks: numbers
    of each row (n, K) that metrics are made of, by the columns of `ROW_NUMBERS`, and the same as decisions;
    `generated`, `references` and `prompts` are what the model wrote for each row, what stands there, and what it was
    given (of conversations the messages, as JSON), None for rows that it was not asked to continue; all are empty where
    it was asked for none.
    `targets` and `rows` as in Split.
    """

    scores: np.ndarray
    decisions: np.ndarray
    targets: np.ndarray
    rows: np.ndarray
    generated: tuple[str | None, ...] = ()
    references: tuple[str | None, ...] = ()
    prompts: tuple[str | None, ...] = ()

    def only(self, index: np.ndarray) -> Predictions:
        """Some rows (or those where a mask is True), in the order given; a row may come more than once."""
        arrays = (getattr(self, name)[index] for name in ("scores", "decisions", "targets", "rows"))
        places = index.nonzero()[0] if index.dtype == bool else index
        texts = (tuple(column[place] for place in places) for column in self.texts if column)
        return Predictions(*arrays, *texts)

    @property
    def texts(self) -> tuple[tuple[str | None, ...], ...]:
        """What was written, what stands there, and the prompts."""
        return self.generated, self.references, self.prompts


ROW_NUMBERS: dict[Task, tuple[str, ...]] = {
    "generation": ("nll", "tokens", "right"),
    "preference": ("chosen", "rejected", "loss"),
    "unpaired_preference": ("reward", "loss"),
    "prompts": ("reward", "kl", "tokens"),
    "image_generation": ("error", "loss"),
}
"""What a model's outputs for a row of a language task, or of image generation, are, in this order. generation: sum
of -ln p over the tokens to learn, their count, how many of them the model holds for the likeliest. preference: what the
model makes of both answers (a reward model's reward; for dpo beta times the log-ratio to the reference), and the row's
loss. unpaired_preference: the same of the one answer. prompts: reward of what was written, its KL to the reference
(sum over tokens), its tokens. image_generation: mean over the pixels of the squared error of what the model predicts at
the timestep of the row, and the same weighted (`objectives.denoising`).
"""
