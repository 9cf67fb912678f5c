"""What a check may look at: the splits of a recipe, its options, the first model it names."""

from __future__ import annotations

from collections.abc import Callable, Iterable, Mapping
from dataclasses import dataclass

from tunewise.audit.finding import EXAMPLES, Example
from tunewise.audit.settings import CheckConfig
from tunewise.data.table import short
from tunewise.models.locate import LocatedModel
from tunewise.types import DataBundle, Split, Task

LETTERS = 120  # of a text that are shown

Progress = Callable[[float], None]
"""Is told from time to time which share of the work is done, 0 to 1."""


def no_progress(_: float) -> None:
    """For those who do not wait."""


@dataclass(frozen=True, eq=False)
class View:
    """The data as training would get it, and what is needed to judge it."""

    data: DataBundle
    config: CheckConfig
    located: LocatedModel
    progress: Progress = no_progress

    @property
    def task(self) -> Task:
        return self.data.schema.task

    def label_of(self, split: Split, place: int) -> str:
        """The label of a row in words: its class, its labels, or its number."""
        target, labels = split.targets[place], self.data.schema.labels
        if self.task == "regression":
            return f"{float(target):g}"
        if self.task == "classification":
            return labels[int(target)]
        if self.task == "multilabel":
            return ", ".join(label for label, value in zip(labels, target, strict=True) if value) or "no label"
        kinds = {labels[int(tag)].rpartition("-")[2] for tag in target if tag >= 0} - {"O"}
        return ", ".join(sorted(kinds)) or "no entity"

    def shown(self, split: Split, place: int) -> str:
        """The text of a row, shortened."""
        return short(" | ".join(split.texts[place]), LETTERS)


def row_numbers(split: Split, places: Iterable[int]) -> tuple[int, ...]:
    """The numbers of rows in their source, ascending."""
    return tuple(sorted(int(split.rows[place]) for place in places))


def examples_of(split: Split, notes: Mapping[int, str]) -> tuple[Example, ...]:
    """The first few of these places, each with its note."""
    first = list(notes.items())[:EXAMPLES]
    return tuple(
        Example(int(split.rows[place]), short(" | ".join(split.texts[place]), LETTERS), note) for place, note in first
    )
