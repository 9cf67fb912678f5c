"""What a check may look at: the splits of a recipe, its options, the first model it names."""

from __future__ import annotations

from collections.abc import Callable, Iterable, Iterator, Mapping, Sequence
from dataclasses import dataclass, field
from itertools import takewhile
from typing import Any

from tunewise.audit.finding import EXAMPLES, Example
from tunewise.audit.settings import CheckConfig
from tunewise.config.reading import Reading
from tunewise.data.language_rows import prompt_of
from tunewise.data.picture import shown_text
from tunewise.data.table import short
from tunewise.data.tags import is_plain, type_of
from tunewise.models.located import LocatedModel
from tunewise.types import LANGUAGE_TASKS, DataBundle, Split, Task

LETTERS = 120  # of a text that are shown
TELL = 500  # rows after which progress is told

Progress = Callable[[float], None]
"""Is told from time to time which share of the work is done, 0 to 1."""


def no_progress(_: float) -> None:
    """For those who do not wait."""


@dataclass(frozen=True, eq=False)
class View:
    """The data as training would get it, and what is needed to judge it.

    Attributes:
        max_length: `train.max_length`, None for the model's own limit.
        kept: `train.cut`, None for what the tokeniser's own files say.
        sensitive: `data.sensitive`.
        raw: of a language task, the rows as training gets them, where those of `data` are messages as plain text.
        memory: what one check has worked out and others use: the tokeniser, lengths in tokens (`audit.texts_read`).
    """

    data: DataBundle
    config: CheckConfig
    located: LocatedModel
    progress: Progress = no_progress
    max_length: int | None = None
    kept: Reading | None = None
    sensitive: tuple[str, ...] = ()
    raw: DataBundle | None = None
    memory: dict[Any, Any] = field(default_factory=dict, repr=False)

    @property
    def task(self) -> Task:
        return self.data.schema.task

    @property
    def written(self) -> DataBundle:
        """The rows as training gets them."""
        return self.raw or self.data

    @property
    def what(self) -> str:
        """What a row is: a text, a prompt or an image."""
        if self.data.schema.image:
            return "image"
        return "text" if self.data.schema.form in (None, "text") else "prompt"

    def alike(self, split: Split) -> tuple[tuple[str, ...], ...]:
        """By what rows of two splits are the same to a model: their texts; of language tasks, their prompts."""
        form = self.data.schema.form
        if form in (None, "text"):
            return split.texts
        return tuple(prompt_of(row, form) for row in self.written.splits[split.name].texts)

    def label_of(self, split: Split, place: int) -> str:
        """The label of a row in words: its class, its labels, or its number."""
        target, labels = split.targets[place], self.data.schema.labels
        if self.task == "regression":
            return f"{float(target):g}"
        if self.task == "classification":
            return labels[int(target)]
        if self.task == "multilabel":
            return ", ".join(label for label, value in zip(labels, target, strict=True) if value) or "no label"
        if self.task in LANGUAGE_TASKS:
            return ("not good", "good")[int(target)] if self.task == "unpaired_preference" else ""
        plain = is_plain(labels)
        kinds = {type_of(labels[int(tag)], plain) for tag in target if tag >= 0} - {None}
        return ", ".join(sorted(kinds)) or "no entity"

    def labels_of(self, split: Split) -> list[str]:
        return [self.label_of(split, place) for place in range(len(split))]

    def within(self, split: Split) -> Progress:
        """Is told which share of the rows of a split is done, and tells which of those of all splits."""
        splits = list(self.data.splits.values())
        before = sum(len(other) for other in takewhile(lambda other: other is not split, splits))
        whole = sum(map(len, splits))
        return lambda share: self.progress((before + share * len(split)) / whole)

    def each_row(self, split: Split) -> Iterator[tuple[int, tuple[str, ...]]]:
        """The place and the texts of each row of a split; progress is told as they are taken."""
        progress = self.within(split)
        for place, texts in enumerate(split.texts):
            yield place, texts
            if (place + 1) % TELL == 0 or place + 1 == len(split):
                progress((place + 1) / len(split))


def shown(texts: Sequence[str]) -> str:
    """The text of a row, or both of a pair, shortened."""
    return short(" | ".join(map(shown_text, texts)), LETTERS)


def row_numbers(split: Split, places: Iterable[int]) -> tuple[int, ...]:
    """The numbers of rows in their source, ascending."""
    return tuple(sorted(int(split.rows[place]) for place in places))


def examples_of(split: Split, notes: Mapping[int, str]) -> tuple[Example, ...]:
    """The first few of these places, each with its note."""
    first = list(notes.items())[:EXAMPLES]
    return tuple(Example(int(split.rows[place]), shown(split.texts[place]), note) for place, note in first)
