"""Rows that are images: options of the data section that are not for them, and the rows of a new source."""

from __future__ import annotations

from collections.abc import Iterator
from typing import Any

from tunewise.cleaning.texts import text_steps
from tunewise.data.picture_table import PictureTable, refuse_broken
from tunewise.data.settings import DataConfig
from tunewise.data.table import Table
from tunewise.errors import DataError
from tunewise.types import IMAGE_GENERATION, Schema

TASKS = ("classification", "multilabel", "regression", "image_generation")


def check_for_images(config: DataConfig, table: PictureTable) -> None:
    """Raises where the data section has options of texts.

    Raises:
        DataError: names the option, and what to do.
    """
    if config.task not in (None, *TASKS):
        raise DataError(
            f"rows of {table.source} are images; the task {config.task} is for texts",
            where="data.task",
            fix=f"leave it out, or take {', '.join(TASKS)}",
        )
    for name, given in _of_texts(config):
        if given:
            raise DataError(
                f"data.{name} is for texts; rows of {table.source} are images", where=f"data.{name}", fix="leave it out"
            )
    if config.label is None and config.task != IMAGE_GENERATION and not any(name == "label" for name in table.columns):
        raise DataError(
            f"data.label is not given, and {table.source} does not tell classes",
            where="data.label",
            fix="name the column with the label, or put the images of each class into a folder of its own",
        )


def _of_texts(config: DataConfig) -> Iterator[tuple[str, Any]]:
    for step in text_steps(config.clean):
        yield f"clean.{step}", True
    yield "clean.personal_data", config.clean.personal_data
    yield "clean.duplicates", config.clean.duplicates == "near"
    yield "clean.near", config.clean.changed("near")
    yield "overlap_near", config.overlap_near
    for name in ("chat", "between", "documents"):
        yield name, getattr(config, name) is not None


def usable_pictures(table: PictureTable) -> list[tuple[str, ...]]:
    """The images to learn from; "" where one cannot be used.

    Raises:
        DataError: none can; names the first few.
    """
    if len(table.broken) == len(table):
        refuse_broken(table)
    return table.rows


def as_trained_on(config: DataConfig, schema: Schema) -> DataConfig:
    """The data section for a new source: it has its images in the column of the training data.

    Raises:
        DataError: the model draws images.
    """
    if schema.task == IMAGE_GENERATION:
        raise DataError(
            "the model draws images, and answers nothing about given ones",
            where="data.task: image_generation",
            fix="draw by `tunewise sample RUN --number 64 --out FOLDER`",
        )
    return config.model_copy(update={"image": schema.image}) if schema.image else config


def pictures_of(table: Table, schema: Schema) -> list[tuple[str, ...]]:
    """The images of a new source, each of which is to be answered for.

    Raises:
        DataError: rows are no images, or one cannot be used; names the first few.
    """
    if not isinstance(table, PictureTable):
        raise DataError(
            "the model reads images, and the rows are none",
            where=table.source,
            fix=f"give a folder of images, an image, or a table with a column '{schema.image}'",
        )
    refuse_broken(table)
    return table.rows
