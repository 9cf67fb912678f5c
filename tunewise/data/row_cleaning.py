"""What `data.clean` does to the rows of every source, in the order in which its options stand; texts are clean already
(`cleaned.clean_texts`)."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path

from tunewise.cleaning.settings import CleanConfig
from tunewise.data.clean import Rows
from tunewise.data.cleaned import respelled, spellings
from tunewise.data.label_list import LabelList, corrected, read_label_list
from tunewise.data.personal_data import private_rows
from tunewise.data.repeats import without_repeats
from tunewise.data.settings import DataConfig
from tunewise.types import DataStep, Task


@dataclass(frozen=True)
class RowCleaning:
    """The same for every source of a recipe.

    Attributes:
        spelling: of classes that are spelled in several ways, as the training rows say.
        labels: of rows that are to be dropped or relabelled.
        chat: texts are conversations.
    """

    config: CleanConfig
    task: Task
    spelling: Mapping[str, str]
    labels: LabelList | None
    chat: bool = False

    def __call__(self, rows: Rows, name: str) -> tuple[Rows, list[DataStep]]:
        """The rows of a source, cleaned, and a step for each thing that was done.

        Args:
            name: train, validation, test or the name of a test set: repeated rows are left out of train alone.
        """
        rows, steps = respelled(rows, self.spelling)
        rows, more = private_rows(self.config.personal_data, rows, name, self.task, self.chat)
        steps = [*steps, *more]
        if self.labels:
            rows, more = corrected(rows, name, self.labels, self.task)
            steps += more
        if name == "train":
            rows, more = without_repeats(self.config, rows)
            steps += more
        return rows, steps


def row_cleaning(
    config: DataConfig,
    folder: Path,
    train: Rows,
    task: Task,
    label: Sequence[str],
    sources: Sequence[str],
    chat: bool = False,
) -> RowCleaning:
    """What the recipe says, with what has to be read for it.

    Args:
        folder: what relative paths start from.
        sources: names of the sources that the recipe reads.
        chat: texts are conversations.

    Raises:
        DataError: the list of labels cannot be read, or is of other sources; class names cannot be folded.
    """
    labels = read_label_list(config.clean.labels, folder) if config.clean.labels else None
    if labels:
        labels.check_sources(list(sources))
    return RowCleaning(config.clean, task, spellings(config.clean, config.labels, train, task, label), labels, chat)
