"""Which columns hold text and label, what the task is, and what its classes are called."""

from __future__ import annotations

from collections import Counter
from collections.abc import Sequence
from typing import Any

from tunewise.data.doubtful import Classes, check_classes, doubt_steps
from tunewise.data.keys import key_columns
from tunewise.data.labels import Label, is_missing, sort_names
from tunewise.data.sentences import sentence_columns, words_column
from tunewise.data.settings import DataConfig
from tunewise.data.table import Table, as_number, as_text, check_one_kind, count_rows, listed, nearest
from tunewise.data.tags import tag_names
from tunewise.errors import DataError
from tunewise.types import DataStep, Schema, Task

MANY = 20
"""More distinct whole numbers than this are a quantity, not classes."""

_LOOK = 1000  # rows that are enough to tell text from other columns
_ONE = {
    "classification": "class",
    "multilabel": "set of labels",
    "regression": "number",
    "token_classification": "tag for every word",
}


def label_columns(config: DataConfig, table: Table) -> tuple[str, ...]:
    """The column or columns with the label; where the recipe names none, that of the tags beside a column of words.

    Raises:
        DataError: none is named and none is clear, one is not there, or named twice.
    """
    if config.label is None:
        found = sentence_columns(table) if config.task in (None, "token_classification") else None
        if found is None:
            raise DataError(
                f"data.label is not given; the columns of {table.source} are {listed(list(table.columns))}",
                where="data.label",
                fix=table.hint or "name the column with the label",
            )
        return (found[1],)
    wanted = config.label if isinstance(config.label, list) else [config.label]
    if not wanted:
        raise DataError("data.label is an empty list", where="data.label", fix="name the column with the label")
    return _distinct([table.find(name) for name in wanted], "data.label")


def text_columns(config: DataConfig, table: Table, label: Sequence[str]) -> tuple[str, ...]:
    """The column with the text, or the two of a sentence pair.

    Where the recipe names none, it is the only column of words: strings, not numbers, in the label's table, and neither
    label nor group nor time. Where
    several columns hold words, it is the only one that reads as text: at least half of its cells hold several words
    (or a script without spaces), and at least 30% of them differ. Beside a column of tags, it is the one of words.

    Raises:
        DataError: not there, more than two, the label itself, or not clear which; names the candidates.
    """
    if config.text is None:
        tagged = len(label) == 1 and config.task in (None, "token_classification")
        others = (*label, *key_columns(config, table).values())
        return ((words_column(table, label[0]) if tagged else None) or _only_text(table, others),)
    wanted = config.text if isinstance(config.text, list) else [config.text]
    if not 1 <= len(wanted) <= 2:
        raise DataError(
            f"expected one text column, or two for pairs, got {len(wanted)}",
            where="data.text",
            fix="join columns into one beforehand, or name the one or two that matter",
        )
    text = _distinct([table.find(name) for name in wanted], "data.text")
    both = [name for name in text if name in label]
    if both:
        raise DataError(f"column '{both[0]}' is named as text and as label", where="data.text", fix="correct one")
    return text


def _distinct(names: list[str], key: str) -> tuple[str, ...]:
    if len(set(names)) < len(names):
        twice = next(name for name, count in Counter(names).items() if count > 1)
        raise DataError(f"column '{twice}' is named twice", where=key, fix="name each column once")
    return tuple(names)


def _only_text(table: Table, others: Sequence[str]) -> str:
    words = [name for name, cells in table.columns.items() if name not in others and holds_words(cells)]
    reading = [name for name in words if reads_as_text(table.columns[name])]
    for found in (words, reading):
        if len(found) == 1:
            return found[0]
    held = f"several columns could be the text: {listed(reading or words)}" if words else "no column holds text"
    raise DataError(
        held,
        where=table.source,
        fix=table.hint or "name the column as `text` under data; two columns, as a list, make pairs",
    )


def holds_words(cells: Sequence[Any]) -> bool:
    """Whether a column holds strings, and not all of them numbers."""
    some = [cell for cell in cells[:_LOOK] if not is_missing(cell)]
    return all(isinstance(cell, str) for cell in some) and any(as_number(cell) is None for cell in some)


def reads_as_text(cells: Sequence[Any]) -> bool:
    """Whether a column of words is prose, and not names of categories or codes."""
    some = [cell for cell in cells[:_LOOK] if not is_missing(cell)]
    prose = sum(_several_words(cell) for cell in some)
    return prose * 2 >= len(some) and len(set(some)) >= 0.3 * len(some)


def _several_words(cell: str) -> bool:
    # U+2E80 starts the scripts of East Asia, which put no space between words.
    letters = sum(letter.isalpha() for letter in cell[:200])
    return letters > 1 and (len(cell.split()) > 1 or any(letter >= "\u2e80" for letter in cell[:200]))


def find_task(config: DataConfig, table: Table, label: Sequence[str], text: Sequence[str] = ()) -> tuple[Task, str]:
    """The task, and how it was told.

    `data.task` decides where it is given. Else: lists of words with as many tags make token classification; several
    label columns, lists, or a `label_separator` make a multi-label task; a column of numbers, some with a fraction or
    more than 20 distinct ones, makes regression (also where up to a tenth of its cells are not numbers, if it has
    fractions and more than 20 distinct ones: those cells are then errors); everything else is classification.

    Raises:
        DataError: `data.task` contradicts what the recipe says of the label.
    """
    several = len(label) > 1
    if config.task not in (None, "multilabel") and (several or config.label_separator):
        key = "several label columns" if several else "label_separator"
        raise DataError(
            f"{key} and task {config.task} do not go together", where="data.task", fix="leave out one of the two"
        )
    if config.task == "token_classification" and len(text) > 1:
        raise DataError(
            f"entities are found in one column of words, got {listed(text)}", where="data.text", fix="name one column"
        )
    if config.task:
        return config.task, "as the recipe says"
    if several:
        return "multilabel", f"{len(label)} label columns"
    if len(text) == 1 and words_column(table, label[0]) is not None:
        return "token_classification", "rows are lists of words, with a tag for each"
    if config.label_separator:
        return "multilabel", f"cells are divided by '{config.label_separator}'"
    return _task_of([cell for cell in table.columns[label[0]] if not is_missing(cell)])


def _task_of(cells: list[Any]) -> tuple[Task, str]:
    if list in set(map(type, cells)):
        return "multilabel", "cells hold lists"
    numbers = [number for cell in cells if (number := as_number(cell)) is not None]
    distinct = len(set(numbers))
    fractions = any(not number.is_integer() for number in numbers)
    all_numbers = bool(numbers) and len(numbers) == len(cells)
    nearly_all = fractions and distinct > MANY and len(numbers) >= 0.9 * len(cells)
    if (all_numbers and (fractions or distinct > MANY)) or nearly_all:
        why = "numbers with fractions" if fractions else f"{distinct} distinct whole numbers"
        return "regression", f"{why}; if they are names of classes, set `task: classification`"
    held = f"{distinct} distinct whole numbers" if all_numbers else "names"
    return "classification", f"cells hold {held}"


def find_schema(config: DataConfig, text: Sequence[str], task: Task, classes: Classes) -> Schema:
    """The schema of the training rows.

    Args:
        classes: the labels of those rows, none missing, and where they stand.

    Raises:
        DataError: a single class or number, two spellings of one class, or classes that data.labels does not name.
    """
    counts, values, label = classes.counts, classes.values, classes.columns
    tagged = task == "token_classification"
    if len(counts if tagged else set(values)) < 2:
        raise DataError(
            f"all {count_rows(len(values))} with a label have the same {_ONE[task]} ({_shown(values[0])}): there is "
            "nothing to learn",
            where=classes.where(),
            fix="at least two are needed; is it the right column, and are all the rows in the file?",
        )
    if task == "regression":
        return Schema(task, tuple(text), label[0])
    found = label if len(label) > 1 else tag_names(counts) if tagged else sort_names(counts)
    if config.labels is None:
        check_classes(classes, config.label_separator)
        labels = tuple(found)
    else:
        labels = _given_labels(config.labels, found, classes)
        if len(label) > 1 and len(labels) > len(label):
            extra = [name for name in labels if name not in label]
            raise DataError(
                f"data.labels names {listed(extra)}, but data.label has no such column",
                where="data.labels",
                fix="name the same columns in both",
            )
    return Schema(task, tuple(text), ", ".join(label), labels)


def _shown(value: Label) -> str:
    return listed(value) or "none" if isinstance(value, tuple) else f"'{as_text(value)}'"


def _given_labels(given: list[str], found: Sequence[str], classes: Classes) -> tuple[str, ...]:
    twice = [name for name, count in Counter(given).items() if count > 1]
    if twice:
        raise DataError(f"class '{twice[0]}' stands twice", where="data.labels", fix="name each class once")
    for name in found:
        if name not in given:
            near = nearest(name, given)
            raise DataError(
                f"class '{name}' ({count_rows(classes.counts[name])}) is not in data.labels, which names "
                f"{listed(given)}",
                where=classes.where(name if name in classes.counts else None),
                fix=f"did you mean '{near}'?" if near else "correct the cells, or list the class in data.labels",
            )
    return tuple(given)


def schema_steps(config: DataConfig, schema: Schema, why: str, classes: Classes) -> list[DataStep]:
    """What was decided, which named classes no row has, and what may be meant otherwise."""
    count = len(classes.values)
    what = "tags" if schema.task == "token_classification" else "classes"
    held = f", {len(schema.labels)} {what}" if schema.labels else ""
    columns = " and ".join(f"'{name}'" for name in schema.columns)
    reason = f"{'text' if schema.text else 'image'} {columns}; label '{schema.label}': {schema.task}{held} ({why})"
    steps = [DataStep("schema", count, count, reason)]
    absent = [name for name in schema.labels if name not in classes.counts]
    if absent:
        steps.append(DataStep("classes without rows", count, count, f"no row of train has {listed(absent)}"))
    return [*steps, *doubt_steps(classes, config.label_separator, config.labels is not None)]


def check_texts(table: Table, columns: Sequence[str]) -> list[tuple[str, ...]]:
    """One tuple of strings per row; a cell without content is "".

    Raises:
        DataError: a column is not there, or does not hold text.
    """
    cells = []
    for column in (table.find(name) for name in columns):
        found = check_one_kind(table, column)
        if found not in ("text", "nothing"):
            raise DataError(
                f"expected text, got {found}",
                where=f"{table.source}, column '{column}'",
                fix="name another column as `text` under data, or write the column as strings",
            )
        cells.append([cell or "" for cell in table.columns[column]])
    return list(zip(*cells, strict=True))
