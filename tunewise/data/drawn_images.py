"""Rows of image generation: images with a class each, which the model is told, or without."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import replace

from tunewise.data.doubtful import Classes
from tunewise.data.labels import Label, read_labels
from tunewise.data.picture_folder import LABEL
from tunewise.data.picture_table import PictureTable
from tunewise.data.schema import find_schema, label_columns, schema_steps
from tunewise.data.settings import DataConfig
from tunewise.data.table import Table
from tunewise.errors import DataError
from tunewise.types import IMAGE_GENERATION, DataStep, Schema, Task

ONE_KIND = "image"
"""Stands for the label of every row where rows have no classes."""


def check_for_generation(config: DataConfig, table: Table) -> None:
    """Raises where rows are to be drawn that are no images, or classes are named and left aside.

    Raises:
        DataError: names the option, and what to do.
    """
    if config.unconditional and config.task != IMAGE_GENERATION:
        raise DataError("data.unconditional is for image generation", where="data.unconditional", fix="leave it out")
    if config.task != IMAGE_GENERATION:
        return
    if not isinstance(table, PictureTable):
        raise DataError(
            f"image generation learns from images, and the rows of {table.source} are none",
            where="data.task",
            fix="give a folder of images, or name the column of images as `image` under data",
        )
    if config.unconditional and config.label is not None:
        raise DataError(
            "data.label names classes, and data.unconditional leaves them aside",
            where="data.unconditional",
            fix="leave out one of the two",
        )


def class_columns(config: DataConfig, table: Table) -> tuple[str, ...]:
    """The column of classes: the one that the recipe names, or that of the folders; none where there are none, or where
    the recipe wants them left aside.

    Raises:
        DataError: there is no such column, or several are named.
    """
    if config.unconditional or (config.label is None and LABEL not in table.columns):
        return ()
    found = (LABEL,) if config.label is None else label_columns(config, table)
    if len(found) > 1:
        raise DataError(
            f"an image is drawn of one class; data.label names {len(found)} columns",
            where="data.label",
            fix="name the column of the classes, or leave them aside (data.unconditional)",
        )
    return found


def class_values(table: Table, label: Sequence[str], task: Task, separator: str | None) -> list[Label]:
    """The label of every row; of rows without classes, the same for all."""
    return read_labels(table, label, task, separator) if label else [ONE_KIND] * len(table)


def generation_schema(
    config: DataConfig, image: str, label: Sequence[str], classes: Classes, why: str
) -> tuple[Schema, list[DataStep]]:
    """The schema of images to draw the like of, and what is told of it. A single class is none: all rows have it.

    Raises:
        DataError: two spellings of one class, or classes that data.labels does not name.
    """
    count = len(classes.values)
    if label and len(set(classes.values)) > 1:
        schema = find_schema(config, (), "classification", classes)
        schema = replace(schema, task=IMAGE_GENERATION, image=image)
        return schema, schema_steps(config, schema, why, classes)
    schema = Schema(IMAGE_GENERATION, (), label[0] if label else "", image=image)
    if config.labels is not None:
        raise DataError(
            "data.labels names classes, and the rows have none" + (" but one" if label else ""),
            where="data.labels",
            fix="leave it out",
        )
    without = "all are of one class, which says nothing" if label else "without classes"
    return schema, [DataStep("schema", count, count, f"image '{image}': image generation, {without} ({why})")]
