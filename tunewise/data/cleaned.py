"""Carries out `data.clean` on rows that were read: each step in its order, told with its count and first rows."""

from __future__ import annotations

import importlib.util
from collections import Counter
from collections.abc import Mapping, Sequence
from dataclasses import replace

from tunewise.cleaning.settings import CleanConfig
from tunewise.cleaning.texts import PACKAGES, cleaned_text, text_steps
from tunewise.data.clean import Rows
from tunewise.data.doubtful import twin_key
from tunewise.data.labels import Label, count_names, sort_names
from tunewise.data.sentences import joined, words_of
from tunewise.data.table import count_rows, listed, printable, row_list
from tunewise.errors import DataError
from tunewise.types import DataStep, Task

Text = tuple[str, ...]

SHOWN = 2
"""Rows that a step shows before and after."""

_LETTERS = 30  # of a text that are shown on each side


def clean_texts(
    config: CleanConfig, texts: Sequence[Text], source: str, words: bool
) -> tuple[list[Text], list[DataStep]]:
    """The texts of a source, each step that changes texts carried out, and what it changed.

    Args:
        words: whether a text is words with a space between each, which keep their number.

    Raises:
        DataError: a step needs a package that is not installed.
    """
    texts, steps = list(texts), []
    for name in text_steps(config):
        check_installed(name)
        before, texts = texts, [cleaned_row(row, (name,), words) for row in texts]
        steps.append(_changed_step(name, before, texts, source))
    return texts, steps


def cleaned_row(row: Text, steps: Sequence[str], words: bool) -> Text:
    """A row's texts after these steps. Words are cleaned one by one: one of which nothing would be left stays as it
    is, and a space inside one becomes a no-break space, so that tags still fit."""
    return tuple(_cleaned_words(text, steps) if words else cleaned_text(text, steps) for text in row)


def _cleaned_words(text: str, steps: Sequence[str]) -> str:
    pairs = ((word, cleaned_text(word, steps)) for word in words_of(text))
    return joined(cleaned if cleaned.strip() else word for word, cleaned in pairs)


def check_installed(step: str) -> None:
    """Raises where a step needs a package that is not there.

    Raises:
        DataError: names it.
    """
    package = PACKAGES.get(step)
    if package and importlib.util.find_spec(package) is None:
        raise DataError(
            f"the step needs the package {package}, which is not installed",
            where=f"data.clean.{step}",
            fix="pip install 'tunewise[check]'",
        )


def _changed_step(name: str, before: Sequence[Text], after: Sequence[Text], source: str) -> DataStep:
    changed = [index for index, pair in enumerate(zip(before, after, strict=True)) if pair[0] != pair[1]]
    reason = f"{source}: data.clean.{name} changed no text"
    if changed:
        shown = "; ".join(f"row {index + 1}: {_difference(before[index], after[index])}" for index in changed[:SHOWN])
        reason = (
            f"{source}: data.clean.{name} changed the text of {len(changed):,} of {count_rows(len(before))}: "
            f"{row_list(changed)}. {shown}"
        )
    return DataStep(_called(name), len(before), len(before), reason, tuple(index + 1 for index in changed))


def _called(step: str) -> str:
    return step.replace("_", " ")


def _difference(before: Text, after: Text) -> str:
    """What stands where the first text that changed begins to differ, before and after."""
    old, new = next(pair for pair in zip(before, after, strict=True) if pair[0] != pair[1])
    same = next((place for place, pair in enumerate(zip(old, new, strict=False)) if pair[0] != pair[1]), None)
    start = max((min(len(old), len(new)) if same is None else same) - _LETTERS // 3, 0)
    return f"{_shown(old, start)} became {_shown(new, start)}"


def _shown(text: str, start: int) -> str:
    """A part of a text; what cannot be seen is escaped."""
    part = "".join(letter if letter.isprintable() else printable(letter) for letter in text[start : start + _LETTERS])
    return f"'{'...' * (start > 0)}{part}{'...' * (start + _LETTERS < len(text))}'"


# ---------------------------------------------------------------- names of classes


def spellings(config: CleanConfig, given: Sequence[str] | None, train: Rows, task: Task, label: Sequence[str]) -> dict:
    """From what is the same in all spellings of a class to the one that is used; empty where `fold_labels` is off.

    Args:
        given: `data.labels`, whose spelling is used.
        train: rows whose most frequent spelling is used else.

    Raises:
        DataError: the task has no class names in cells, or two in `data.labels` are spellings of one.
    """
    if not config.fold_labels:
        return {}
    where = "data.clean.fold_labels"
    if task not in ("classification", "multilabel"):
        fix = "write each tag in one way" if task == "token_classification" else "leave it out"
        raise DataError(f"class names are folded for classification; the task is {task}", where=where, fix=fix)
    if len(label) > 1:
        raise DataError(
            f"the classes are the names of the columns {listed(label)}", where=where, fix="leave it out: rename columns"
        )
    found = {twin_key(name): name for name in reversed(given or ())}
    if len(found) < len(set(given or ())):
        twins = [name for name in given or () if found[twin_key(name)] != name]
        raise DataError(
            f"data.labels names '{found[twin_key(twins[0])]}' and '{twins[0]}', which fold_labels takes for one",
            where=where,
            fix="leave it out, or name one of them",
        )
    counts = count_names(train.values)
    for name in sorted(sort_names(counts), key=lambda name: -counts[name]):
        found.setdefault(twin_key(name), name)
    return found


def respelled(rows: Rows, spelling: Mapping[str, str]) -> tuple[Rows, list[DataStep]]:
    """Rows whose classes are spelled as `spelling` has them (others stay), and what was changed."""
    if not spelling:
        return rows, []
    values = tuple(respelled_label(value, spelling) for value in rows.values)
    changed = [place for place, value in enumerate(values) if value != rows.values[place]]
    reason = f"{rows.table.source}: data.clean.fold_labels changed no label"
    if changed:
        reason = (
            f"{rows.table.source}: data.clean.fold_labels changed the label of {len(changed):,} of "
            f"{count_rows(len(rows))}: {row_list([rows.indices[place] for place in changed])}. "
            f"{_renamed(rows.values, spelling)}"
        )
    numbers = tuple(rows.indices[place] + 1 for place in changed)
    return replace(rows, values=values), [DataStep("fold labels", len(rows), len(rows), reason, numbers)]


def respelled_label(value: Label, spelling: Mapping[str, str]) -> Label:
    """A class, or the classes of a row, in the spelling that is used."""
    if isinstance(value, tuple):
        return tuple(dict.fromkeys(spelling.get(twin_key(name), name) for name in value))
    return spelling.get(twin_key(value), value) if isinstance(value, str) else value


def _renamed(values: Sequence[Label], spelling: Mapping[str, str]) -> str:
    names = Counter(
        {name: rows for name, rows in count_names(values).items() if respelled_label(name, spelling) != name}
    )
    told = [
        f"{name!r} ({count_rows(names[name])}) became {respelled_label(name, spelling)!r}" for name in sort_names(names)
    ]
    return "; ".join(told[:10]) + (f" and {len(told) - 10} more" if len(told) > 10 else "")
