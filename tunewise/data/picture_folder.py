"""A folder of images -> a table: a folder for each class, in folders for each split where it has those."""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from pathlib import Path

from tunewise.data.columnar import choose_split
from tunewise.data.picture import ENDINGS
from tunewise.data.shards import SPLITS
from tunewise.data.table import Table, listed, make_table
from tunewise.errors import DataError

VALIDATION = ("validation", "val", "valid", "dev")
"""Names that the folder of the validation rows has."""
IMAGE, LABEL = "image", "label"
_DEEPEST = 4  # folders: of split, of class, and what a class is parted in


def holds_images(folder: Path) -> bool:
    """Whether a folder, or one in it, holds a file that is called like an image."""
    return next(_images_in(folder), None) is not None


def _images_in(folder: Path, deep: int = 0) -> Iterator[Path]:
    """Files called like images, in the order of their names, those of a folder before those of folders in it."""
    entries = sorted(entry for entry in folder.iterdir() if not entry.name.startswith("."))
    yield from (entry for entry in entries if entry.suffix.lower() in ENDINGS and not entry.is_dir())
    if deep < _DEEPEST:
        for entry in entries:
            if entry.is_dir() and not entry.is_symlink():
                yield from _images_in(entry, deep + 1)


def splits_of(folder: Path) -> list[str]:
    """The names of the splits that a folder holds: all the folders in it are called like one."""
    inside = sorted(entry.name for entry in folder.iterdir() if entry.is_dir() and not entry.name.startswith("."))
    return inside if inside and all(name.lower() in SPLITS for name in inside) else []


def sources_in(folder: Path, called: str) -> dict[str, str]:
    """What a recipe names of a folder: its splits where it holds some, as `called@name`, by their keys; else all."""
    names = splits_of(folder)
    if "train" not in names:
        return {"train": called}
    sources = {"train": f"{called}@train"}
    validation = next((name for name in VALIDATION if name in names), None)
    if validation:
        sources["validation"] = f"{called}@{validation}"
    if "test" in names:
        sources["test"] = f"{called}@test"
    return sources


def read_picture_folder(
    folder: Path, split: str | None, source: str, purpose: str, image: str = IMAGE, label: str = LABEL
) -> tuple[Table, Path]:
    """The images of a folder, one a row, and the folder that they are in: a column of paths, and one of labels where
    images lie in folders of classes. Links to other folders are not followed.

    Args:
        split: the one to take; None takes the one called like `purpose`.
        image, label: what the columns are to be called.

    Raises:
        DataError: no such split, images beside folders of images, or no image.
    """
    names = splits_of(folder)
    if purpose == "validation" and split is None:
        split = next((name for name in VALIDATION if name in names), None)
    name = choose_split(names, split, source, purpose)
    root = folder / name
    found = list(_images_in(root))
    beside = [path for path in found if path.parent == root]
    if not found:
        raise DataError(
            "the folder holds no image",
            where=f"{source}{f'@{name}' * bool(name)}",
            fix=f"name one with {ENDINGS[0]}, {ENDINGS[4]}, ... files, in a folder for each class",
        )
    if beside and len(beside) < len(found):
        raise DataError(
            f"{len(beside):,} images lie beside the folders of classes, such as {listed([beside[0].name])}",
            where=str(root),
            fix="put each into the folder of its class, or elsewhere",
        )
    paths = [path.relative_to(root).as_posix() for path in found]
    columns: dict[str, Sequence[str]] = {image: paths}
    if not beside:
        columns[label] = [path.partition("/")[0] for path in paths]
    return make_table(source, list(columns), list(columns.values()), _note(root, name, names, found)), root


def _note(root: Path, name: str, names: Sequence[str], found: Sequence[Path]) -> str:
    others = [other for other in names if other != name]
    empty = sorted(
        entry.name
        for entry in root.iterdir()
        if entry.is_dir() and not entry.name.startswith(".") and not any(entry in path.parents for path in found)
    )
    files = sum(1 for path in root.rglob("*") if path.is_file() and not path.name.startswith(".")) - len(found)
    notes = ["a folder of images"] + ([f"split '{name}'"] if name else [])
    notes += [f"also there, and not used: {listed(others)}"] if others else []
    notes += [f"folders without an image: {listed(empty)}"] if empty else []
    notes += [f"{files:,} files that are not called like images are left out"] if files > 0 else []
    return "; ".join(notes)
