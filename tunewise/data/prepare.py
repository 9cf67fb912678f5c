"""The entry to this room: a recipe's data section -> a DataBundle; and new files, read by a known schema."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass, replace
from pathlib import Path

import numpy as np

from tunewise.data.balance import balance
from tunewise.data.clean import Rows, repeat_steps, usable_rows
from tunewise.data.cleaned import clean_texts, respelled_label
from tunewise.data.doubtful import Classes, twin_key
from tunewise.data.drawn_images import check_for_generation, class_columns, class_values, generation_schema
from tunewise.data.fingerprint import fingerprint
from tunewise.data.folds import check_folds, fold_of_rows, split_fold
from tunewise.data.groups import read_groups
from tunewise.data.image_rows import as_trained_on, check_for_images, pictures_of, usable_pictures
from tunewise.data.keys import check_keys, key_columns
from tunewise.data.labels import check_known, count_names, is_missing, read_labels, sort_names
from tunewise.data.language_source import LanguageSource, load_language_split, read_steps
from tunewise.data.layouts import find_layout
from tunewise.data.near_overlap import near_apart
from tunewise.data.overlap import overlap_steps, refuse_overlap, without_overlap
from tunewise.data.personal_data import without_personal_data
from tunewise.data.picture_folder import LABEL
from tunewise.data.picture_table import PictureTable, seen_steps
from tunewise.data.plausible import plausible_steps
from tunewise.data.row_cleaning import row_cleaning
from tunewise.data.schema import check_texts, find_schema, find_task, label_columns, schema_steps, text_columns
from tunewise.data.sensitive import check_sensitive
from tunewise.data.sentences import read_tags, read_words
from tunewise.data.settings import DataConfig
from tunewise.data.share import draw_share
from tunewise.data.source import load_source
from tunewise.data.split import draw, draw_per_class
from tunewise.data.split_off import split_off
from tunewise.data.table import Table, row_list
from tunewise.data.times import check_same_form, read_times, time_order_steps
from tunewise.errors import DataError
from tunewise.types import IMAGE_GENERATION, DataBundle, DataStep, Schema, Split, Task


@dataclass(frozen=True)
class Collected:
    """The usable rows of every source, before splits are cut from train. `label`: the columns of labels; of a language
    task all that its rows are made of. `keys` are the columns of `group` and `time`,
    `fold_of_row` the fold that tests each row of train, where the recipe asks for folds."""

    parts: Mapping[str, Rows]
    schema: Schema
    label: tuple[str, ...]
    steps: tuple[DataStep, ...]
    keys: Mapping[str, str]
    fold_of_row: np.ndarray | None = None


@dataclass(frozen=True)
class Gathered:
    """The rows of every split as they were read and cut, before the recipe chooses among those of train."""

    parts: Mapping[str, Rows]
    schema: Schema
    label: tuple[str, ...]
    steps: tuple[DataStep, ...]


def prepare(config: DataConfig, folder: Path) -> DataBundle:
    """Reads, checks and splits the data of a recipe.

    Validation and test rows come from their own sources where the recipe names them; what it does not name is split
    off from train (see `split_off.py`). Every row that is left out, and everything a reader of the results should know,
    is a DataStep.

    Args:
        folder: what relative paths start from: the recipe's folder.

    Raises:
        DataError: the data cannot be used; names file, row and column.
    """
    return bundle(config, gather(config, folder))


def gather(config: DataConfig, folder: Path) -> Gathered:
    """Reads, checks and splits the data: all of `prepare` that does not depend on which training rows are used.

    Raises:
        DataError: the data cannot be used; names file, row and column.
    """
    return cut(config, collect(config, folder))


def collect(config: DataConfig, folder: Path) -> Collected:
    """Reads and checks the rows of all sources: what all folds of a cross-validation have in common.

    Raises:
        DataError: the data cannot be used; names file, row and column.
    """
    check_folds(config)
    tests = _test_sources(config)
    table = load_source(config, config.train, folder, "train")
    images, generates = isinstance(table, PictureTable), config.task == IMAGE_GENERATION
    check_for_generation(config, table)
    if images:
        check_for_images(config, table)
    elif (layout := find_layout(config, table)) is not None:
        return _collect_language(config, folder, LanguageSource.of(config, layout, table), tests)
    if generates:
        label = class_columns(config, table)
    else:
        label = (LABEL,) if images and config.label is None else label_columns(config, table)
    text = (table.image,) if images else text_columns(config, table, label)
    keys = key_columns(config, table)
    check_keys(keys, text, label)
    task, why = find_task(config, table, label, text)
    train, steps = _read(config, table, text, label, task)
    given = {"validation": config.validation} if config.validation else {}
    clean = row_cleaning(config, folder, train, task, label, ["train", *given, *tests])
    train, more = clean(train, "train")
    steps += more
    classes = Classes(train.values, train.numbers, table.source, label)
    if generates:
        schema, told = generation_schema(config, text[0], label, classes, why)
    else:
        schema = find_schema(config, text, task, classes)
        schema = replace(schema, text=(), image=text[0]) if images else schema
        told = schema_steps(config, schema, why, classes)
    steps += [*told, *repeat_steps(train)]
    steps += plausible_steps(train, task, given_validation=bool(config.validation))
    known = schema.labels if task == "token_classification" else sort_names(count_names(train.values))
    parts = {"train": train}
    for name, source in {**given, **tests}.items():
        purpose = "validation" if name == "validation" else "test"
        rows, more = _read(config, load_source(config, source, folder, purpose), text, label, task)
        rows, cleaned = clean(rows, name)
        more += cleaned
        check_known(rows.values, rows.numbers, known, rows.table.source, config.train)
        if "time" in keys:
            check_same_form(train, rows, keys["time"])
        parts[name] = rows
        steps += [*more, *repeat_steps(rows)]
    return _collected(config, parts, schema, tuple(label), steps, keys)


def _collect_language(config: DataConfig, folder: Path, train: LanguageSource, tests: Mapping[str, str]) -> Collected:
    """As `collect`, of rows that are something to continue."""
    keys, (rows, steps) = key_columns(config, train.table), train.rows
    check_keys(keys, train.layout.columns, ())
    given = {"validation": config.validation} if config.validation else {}
    chat = train.schema.form == "chat"
    clean = row_cleaning(config, folder, rows, train.layout.task, (), ["train", *given, *tests], chat)
    parts: dict[str, Rows] = {}
    for name, source in {"train": config.train, **given, **tests}.items():
        if name != "train":
            purpose = "validation" if name == "validation" else "test"
            rows, more = train.read(config, load_source(config, source, folder, purpose))
            steps += more
        check_sensitive(config, rows.table, train.layout.columns, ())
        rows, more = _with_keys(config, rows)
        parts[name], cleaned = clean(rows, name)
        if name != "train" and "time" in keys:
            check_same_form(parts["train"], parts[name], keys["time"])
        steps += [*more, *cleaned, *repeat_steps(parts[name])]
    return _collected(config, parts, train.schema, train.layout.columns, steps, keys)


def _collected(
    config: DataConfig,
    parts: dict[str, Rows],
    schema: Schema,
    label: tuple[str, ...],
    steps: Sequence[DataStep],
    keys: Mapping[str, str],
) -> Collected:
    """The rows of all sources without what they share, as `data.limit` and `data.folds` want them."""
    parts, more = _apart(config, parts)
    steps = [*steps, *more]
    for name, rows in parts.items():
        parts[name], more = _limit(config, name, rows, schema.task)
        steps += more
    folds = fold_of_rows(parts["train"], schema.task, config.folds, config.split_seed) if config.folds else None
    return Collected(parts, schema, label, tuple(steps), keys, folds)


def cut(config: DataConfig, collected: Collected) -> Gathered:
    """Cuts the splits that the recipe does not name from train; with folds, those of the fold that it names, or of the
    first.

    Raises:
        DataError: there are too few rows, groups or times.
    """
    keys, task = collected.keys, collected.schema.task
    if collected.fold_of_row is not None:
        parts, more = split_fold(config, collected.parts["train"], task, keys, collected.fold_of_row)
    else:
        parts, more = split_off(config, collected.parts, task, keys)
    steps = [*collected.steps, *more]
    if "time" in keys:
        parts, more = _apart(config, parts)
        steps += [*more, *time_order_steps(parts, keys["time"])]
    parts, more = near_apart(config, parts)
    return Gathered(parts, collected.schema, collected.label, (*steps, *more))


def bundle(config: DataConfig, gathered: Gathered) -> DataBundle:
    """The training rows that the recipe uses of what was gathered, and all the rest of it.

    Raises:
        DataError: they are too few, or the task has no classes to draw by.
    """
    parts, steps = dict(gathered.parts), list(gathered.steps)
    schema, label, task = gathered.schema, gathered.label, gathered.schema.task
    parts["train"], more = _few(config, parts["train"], task)
    steps += more
    whole = parts["train"].texts if config.share is not None else ()
    parts["train"], more = draw_share(config, parts["train"], task)
    steps += more
    parts["train"], more = balance(config, parts["train"], task)
    steps += more
    steps += overlap_steps(parts)
    splits = {name: rows.split(name, schema, label) for name, rows in parts.items()}
    return DataBundle(splits, schema, tuple(steps), fingerprint(schema, splits), whole)


def load_split(config: DataConfig, source: str, folder: Path, schema: Schema, name: str, with_targets: bool) -> Split:
    """Every row of a new source, in order, in the columns and classes of the training data.

    Rows without text stay in; `limit` does not apply, nor do the steps of `clean` that change texts: the model carries
    them out itself. Without targets, the label column may be absent, and targets are as `labels.no_targets` has them.

    Args:
        config: the data section that the model was trained with: format, delimiter, label.
        with_targets: whether labels are needed (to evaluate) or not (to predict).

    Raises:
        DataError: the file cannot be read, a column is missing, or, with targets, a label is missing or unknown.
    """
    config = as_trained_on(config, schema)
    table = load_source(config, source, folder, "test")
    if schema.is_language:
        return _private(load_language_split(config, table, schema, name, with_targets), config, schema)
    tagged = schema.task == "token_classification"
    if schema.image:
        texts = pictures_of(table, schema)
    else:
        texts = read_words(table, table.find(schema.text[0]))[0] if tagged else check_texts(table, schema.text)
    if config.clean.personal_data and config.clean.personal_data.do != "drop":
        # In the order of training; the other steps are the model's own, and change nothing a second time.
        texts, _ = clean_texts(config.clean, texts, table.source, words=tagged)
        texts, _, _ = without_personal_data(config.clean.personal_data, texts, schema.task)
    several = isinstance(config.label, list) and len(config.label) > 1
    label = schema.labels if several else (schema.label,)
    indices = tuple(range(len(table)))
    if not with_targets:
        return Rows(table, indices, tuple(texts), (None,) * len(table)).split(name, schema, label, known=False)
    for column in label:
        table.find(column)
    if tagged:
        values, _ = read_tags(table, label[0], texts)
    else:
        values = read_labels(table, label, schema.task, config.label_separator)
    if config.clean.fold_labels:
        spelling = {twin_key(name): name for name in schema.labels}
        values = [respelled_label(value, spelling) for value in values]
    missing = [index for index, value in enumerate(values) if value is None]
    if missing:
        raise DataError(
            f"{len(missing):,} of {len(table):,} rows have no label: {row_list(missing)}",
            where=f"{source}, column '{label[0]}'",
            fix="fill in the labels or take the rows out; to predict, no labels are needed",
        )
    rows = Rows(table, indices, tuple(texts), tuple(values))
    check_known(values, rows.numbers, schema.labels, source, "the training data")
    return rows.split(name, schema, label)


def load_answers(config: DataConfig, source: str, folder: Path, schema: Schema) -> Split:
    """Answers to judge, of a new source, as a reward model's training data has them: rows are a prompt with a chosen
    and a rejected answer, where the source has both, else a prompt with one answer, or a conversation.

    Raises:
        DataError: the file cannot be read, or a row has no prompt or no answer.
    """
    table = load_source(config, source, folder, "test")
    names = {name.casefold() for name in table.columns}
    if not {"chosen", "rejected"} <= names:
        schema, config = replace(schema, task="generation"), config.model_copy(update={"task": "generation"})
    return _private(load_language_split(config, table, schema, "data", True), config, schema)


def _private(split: Split, config: DataConfig, schema: Schema) -> Split:
    """A split of a language task without the personal data that training did without."""
    personal = config.clean.personal_data
    if personal is None or personal.do == "drop":
        return split
    texts, _, _ = without_personal_data(personal, split.texts, schema.task, schema.form == "chat")
    return replace(split, texts=tuple(texts))


def _test_sources(config: DataConfig) -> dict[str, str]:
    if not isinstance(config.test, dict):
        return {"test": config.test} if config.test else {}
    taken = [name for name in config.test if name in ("train", "validation") or is_missing(name)]
    if taken or not config.test:
        raise DataError(
            f"a test set cannot be called '{taken[0]}'" if taken else "data.test names no test set",
            where="data.test",
            fix="give each test set a name of its own, or leave out data.test to split one off",
        )
    return config.test


def _read(
    config: DataConfig, table: Table, text: Sequence[str], label: Sequence[str], task: Task
) -> tuple[Rows, list[DataStep]]:
    """The usable rows of a source, and what was read and left out."""
    for column in label:
        table.find(column)
    more: list[DataStep] = []
    if task == "token_classification":
        texts, spaces = read_words(table, table.find(text[0]))
        values, changed = read_tags(table, label[0], texts)
        more = [*spaces, *changed]
    else:
        texts = usable_pictures(table) if isinstance(table, PictureTable) else check_texts(table, text)
        values = class_values(table, label, task, config.label_separator)
    texts, cleaned = clean_texts(config.clean, texts, table.source, words=task == "token_classification")
    rows, steps = usable_rows(table, texts, values, text, label)
    steps += seen_steps(table) if isinstance(table, PictureTable) else []
    check_sensitive(config, table, text, label)
    rows, doubts = _with_keys(config, rows)
    return rows, [*read_steps(table), *more, *cleaned, *steps, *doubts]


def _with_keys(config: DataConfig, rows: Rows) -> tuple[Rows, list[DataStep]]:
    """The rows with the groups and times that the recipe names, and what is doubtful about the groups."""
    keys, doubts = key_columns(config, rows.table), []
    if "group" in keys:
        groups, doubts = read_groups(rows, keys["group"])
        rows = replace(rows, groups=groups)
    if "time" in keys:
        rows = replace(rows, times=read_times(rows, keys["time"]))
    return rows, list(doubts)


def _apart(config: DataConfig, parts: dict[str, Rows]) -> tuple[dict[str, Rows], list[DataStep]]:
    """Splits without what they share, or an error where they share something, as `data.overlap` says."""
    if config.overlap == "error":
        refuse_overlap(parts)
    return without_overlap(parts) if config.overlap == "drop" else (parts, [])


def _limit(config: DataConfig, name: str, rows: Rows, task: Task) -> tuple[Rows, list[DataStep]]:
    if config.limit is None or config.limit >= len(rows):
        return rows, []
    classes = len(set(rows.values))
    if name == "train" and task == "classification" and config.limit < classes:
        raise DataError(
            f"limit {config.limit} is less than one row for each of the {classes} classes",
            where="data.limit",
            fix=f"use at least {4 * classes}, so that validation and test have rows too",
        )
    places = draw(rows.values, rows.texts, task, config.limit, config.split_seed)
    reason = f"{rows.table.source}: drawn by data.limit for a quick look; results on so few rows are rough"
    return rows.take(places), [DataStep("limit", len(rows), len(places), reason)]


def _few(config: DataConfig, train: Rows, task: Task) -> tuple[Rows, list[DataStep]]:
    """The training rows that `per_class` leaves."""
    if config.per_class is None:
        return train, []
    if task != "classification":
        raise DataError(
            f"per_class is for classification; the task is {task}", where="data.per_class", fix="use data.limit"
        )
    kept = train.take(draw_per_class(train.values, train.texts, config.per_class, config.split_seed))
    reason = f"at most {config.per_class} training rows of each class, drawn by data.per_class"
    return kept, [DataStep("per class", len(train), len(kept), reason)]
