"""A table whose rows are images: cells with paths, bytes or both become pictures, and what cannot be one is told."""

from __future__ import annotations

import os
from collections import Counter
from collections.abc import Callable, Collection, Mapping, Sequence
from concurrent.futures import ThreadPoolExecutor
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

from tunewise.data.labels import is_missing
from tunewise.data.picture import LONG, TINY, BrokenImage, Picture, is_image, picture_of
from tunewise.data.settings import DataConfig
from tunewise.data.table import Table, as_text, kind, listed, short
from tunewise.errors import DataError
from tunewise.types import DataStep

NAMED = 5
"""Broken images that a message names."""

_LOOK = 10  # cells that tell what a column holds

Cell = tuple[str, Path | None, bytes | None]
"""How an image is shown, its file, its bytes."""


@dataclass(frozen=True)
class PictureTable(Table):
    """`image` is the column of pictures; a cell is None where `broken` says, by its place, what is wrong with it."""

    image: str = ""
    broken: Mapping[int, str] = field(default_factory=dict)
    of = "image"

    @property
    def rows(self) -> list[tuple[str, ...]]:
        """A tuple of one picture per row; "" stands for one that cannot be used."""
        return [("" if cell is None else cell,) for cell in self.columns[self.image]]

    def told_empty(self, columns: Sequence[str], empty: Collection[int]) -> tuple[str, str]:
        """As of every table; rows without an image are those whose image cannot be used."""
        return "broken images", told_broken(self.broken, self)


def picture_column(config: DataConfig, table: Table, is_folder: bool) -> str | None:
    """The column of images: the one that the recipe names, that of a folder of images, or, where no text is named, the
    only one of bytes (as `datasets` saves images); None where rows are no images.

    Raises:
        DataError: the column is not there, or text and image are both named.
    """
    if config.image is not None:
        if config.text is not None:
            raise DataError(
                "a row is an image or a text; the recipe names both", where="data.image", fix="leave out one of the two"
            )
        return table.find(config.image)
    if is_folder:
        return next(iter(table.columns))
    if config.text is not None:
        return None
    held = [name for name, cells in table.columns.items() if hold_bytes(cells)]
    return held[0] if len(held) == 1 else None


def hold_bytes(cells: Sequence[Any]) -> bool:
    """Whether cells are bytes of images, as `datasets` saves them or alone."""
    some = [cell for cell in cells[:_LOOK] if cell is not None]
    holding = [
        cell.get("bytes") if isinstance(cell, dict) and cell.keys() == {"bytes", "path"} else cell for cell in some
    ]
    held = [cell for cell in holding if isinstance(cell, bytes)]
    return bool(held) and len(held) == len(some) and any(is_image(content) for content in held[:_LOOK])


def with_pictures(config: DataConfig, table: Table, column: str, base: Path | None) -> PictureTable:
    """The table with pictures in a column. Every image is decoded once, by as many threads as there are cores.

    Args:
        base: the folder that paths start from, and must not leave; None where there is none (a dataset of the hub).

    Raises:
        DataError: a cell is no path or bytes, or its path leads out of the folder.
    """
    places = [
        (index, _cell(cell, table, index, column, base))
        for index, cell in enumerate(table.columns[column])
        if not is_missing(cell)
    ]
    found = each(lambda place: _picture(*place[1], config.max_pixels), places)
    cells: list[Picture | None] = [None] * len(table)
    broken = {index: "nothing is there" for index, cell in enumerate(table.columns[column]) if is_missing(cell)}
    for (index, (shown, *_)), made in zip(places, found, strict=True):
        if isinstance(made, Picture):
            cells[index] = made
        else:
            broken[index] = f"{shown}: {made}"
    columns = {name: cells if name == column else values for name, values in table.columns.items()}
    broken = dict(sorted(broken.items()))
    return PictureTable(table.source, columns, table.note, table.hint, table.repairs, column, broken)


def each(work: Callable[[Any], Any], items: Sequence[Any]) -> list[Any]:
    """The work for each item, in their order; Pillow lets other threads run while it decodes."""
    threads = len(os.sched_getaffinity(0)) if hasattr(os, "sched_getaffinity") else os.cpu_count() or 1
    if threads == 1 or len(items) < 2:
        return [work(item) for item in items]
    with ThreadPoolExecutor(threads) as pool:
        return list(pool.map(work, items))


def _picture(shown: str, path: Path | None, content: bytes | None, most_pixels: int) -> Picture | str:
    """The picture, or why there is none."""
    try:
        return picture_of(shown, path, content, most_pixels)
    except BrokenImage as problem:
        return str(problem)


def _cell(cell: Any, table: Table, index: int, column: str, base: Path | None) -> Cell:
    where = table.where(index, column)
    content = cell.get("bytes") if isinstance(cell, dict) else cell if isinstance(cell, bytes) else None
    name = cell.get("path") if isinstance(cell, dict) else cell if isinstance(cell, str) else None
    if content is not None and isinstance(content, bytes):
        return (name if isinstance(name, str) and name else f"row {index + 1}"), None, content
    if not isinstance(name, str):
        raise DataError(
            f"expected an image, as a path or bytes, got {kind(cell)} ({short(cell)})",
            where=where,
            fix="name the column of images as `image` under data",
        )
    if base is None:
        raise DataError(
            f"a path to an image ({short(name)}), and no folder that it starts from",
            where=where,
            fix="save the data to files, with bytes in the column",
        )
    return name, inside(name, base, where), None


def inside(name: str, base: Path, where: str) -> Path:
    """The file of a path, which stays in its folder whatever the path or links on it say.

    Raises:
        DataError: it leads elsewhere, or is not a path.
    """
    if "://" in name:
        raise DataError(f"{short(name)} is a web address", where=where, fix="download the images, and give their paths")
    try:
        path = (base / name).resolve()
    except (OSError, ValueError, RuntimeError) as error:
        raise DataError(f"{short(name)} is not a path ({error})", where=where, fix="correct it") from None
    if not path.is_relative_to(base.resolve()):
        raise DataError(
            f"{short(name, 80)} leads out of the folder of the data ({base})",
            where=where,
            fix="give paths inside of it, or name the folder that all images are in as `image_folder` under data",
        )
    return path


def told_broken(broken: Mapping[int, str], table: Table) -> str:
    """`2 of 40 images cannot be used: a.jpg: it is empty (0 bytes); b.jpg: ...`."""
    first = "; ".join(f"row {index + 1}, {broken[index]}" for index in list(broken)[:NAMED])
    rest = f"; and {len(broken) - NAMED:,} more" if len(broken) > NAMED else ""
    return f"{len(broken):,} of {len(table):,} images cannot be used: {first}{rest}"


def refuse_broken(table: PictureTable) -> None:
    """Raises where an image cannot be used, of data whose rows must all be answered for.

    Raises:
        DataError: names the first few.
    """
    if table.broken:
        raise DataError(
            told_broken(table.broken, table),
            where=f"{table.source}, column '{table.image}'",
            fix="give these images anew, or take the rows out",
        )


def seen_steps(table: PictureTable) -> list[DataStep]:
    """What images are, what was done with them, and which are odd."""
    pictures = [cell for cell in table.columns[table.image] if cell is not None]
    count = len(pictures)
    if not count:
        return []
    facts = [picture.facts for picture in pictures]
    modes = ", ".join(f"{many:,} {mode}" for mode, many in Counter(fact.mode for fact in facts).most_common())
    smallest, largest = (pick(facts, key=lambda fact: fact.width * fact.height) for pick in (min, max))
    size = f"{smallest.width}x{smallest.height} to {largest.width}x{largest.height}"
    steps = [DataStep("images", count, count, f"{table.source}: {count:,} images, {size} pixels; modes: {modes}")]
    done = Counter(what for fact in facts for what in fact.converted)
    if done:
        told = "; ".join(f"{many:,} {what}" for what, many in done.most_common())
        steps.append(DataStep("converted images", count, count, f"{table.source}: read as RGB of 8 bits: {told}"))
    tiny = [picture.shown for picture in pictures if picture.facts.tiny]
    long = [picture.shown for picture in pictures if picture.facts.long]
    for found, what in (
        (tiny, f"have a side of less than {TINY} pixels"),
        (long, f"are {LONG:g} times as long as high, or the other way round, or more"),
    ):
        if found:
            names = listed([as_text(name) for name in found], NAMED)
            steps.append(
                DataStep(
                    "odd images",
                    count,
                    count,
                    f"{table.source}: {len(found):,} of {count:,} images {what}: {names}. Kept as they are",
                )
            )
    return steps
