"""A source, as a recipe names it -> a table, whose rows are images where it holds those."""

from __future__ import annotations

from pathlib import Path

from tunewise.data.columnar import DATASET_FILES
from tunewise.data.load import EXAMPLE, HUB, file_format, find_path, load_table
from tunewise.data.picture import ENDINGS
from tunewise.data.picture_folder import IMAGE, LABEL, holds_images, read_picture_folder
from tunewise.data.picture_table import picture_column, with_pictures
from tunewise.data.settings import DataConfig
from tunewise.data.shards import holds_shards
from tunewise.data.table import Table, make_table
from tunewise.errors import DataError


def holds_pictures(path: Path) -> bool:
    """Whether a path is an image, or a folder of images."""
    if not path.is_dir():
        return path.suffix.lower() in ENDINGS
    names = {entry.name for entry in path.iterdir()}
    return not DATASET_FILES & names and not holds_shards(path) and holds_images(path)


def may_hold_pictures(config: DataConfig, folder: Path) -> bool:
    """Whether the rows of train can be images, as far as names tell: no file is read."""
    if config.image is not None or config.format == "images":
        return True
    if config.text is not None or config.train.startswith(EXAMPLE):
        return False
    if config.train.startswith(HUB) or config.format in ("parquet", "datasets"):
        return True
    try:
        path, _ = find_path(config.train, folder, "train")
        return holds_pictures(path) or (config.format is None and file_format(path, "") in ("parquet", "datasets"))
    except (DataError, OSError):  # told when it is read
        return False


def load_source(config: DataConfig, source: str, folder: Path, purpose: str) -> Table:
    """The rows of one source: as `load_table`, and of images a `PictureTable`.

    Args:
        source: as of `load_table`; or a folder of images (`folder@split` where it holds several), or an image.

    Raises:
        DataError: the source is not there or cannot be read, or a path in it leads out of its folder.
    """
    table, base, whole = _read(config, source, folder, purpose)
    column = picture_column(config, table, whole)
    if column is None:
        return table
    if config.image_folder is not None and not whole:
        base = folder / Path(config.image_folder).expanduser()
        if not base.is_dir():
            raise DataError(f"there is no folder '{config.image_folder}'", where="data.image_folder", fix="correct it")
    return with_pictures(config, table, column, base)


def _read(config: DataConfig, source: str, folder: Path, purpose: str) -> tuple[Table, Path | None, bool]:
    """The table, the folder that paths in it start from, and whether it is of images as a whole."""
    if source.startswith((HUB, EXAMPLE)):
        return load_table(config, source, folder, purpose), None, False
    path, split = find_path(source, folder, purpose)
    if config.format not in (None, "images") or not holds_pictures(path):
        if config.format == "images":
            raise DataError("expected images", where=source, fix="name a folder of images, or correct data.format")
        return load_table(config, source, folder, purpose), path if path.is_dir() else path.parent, False
    image = IMAGE if config.image is None else str(config.image)
    if not path.is_dir():
        return make_table(source, [image], [[path.name]], "an image"), path.parent, True
    label = config.label if isinstance(config.label, str) else LABEL
    table, root = read_picture_folder(path, split, source, purpose, image, label)
    return table, root, True
