"""`drawn.json` of a run of image generation: images drawn before and after training, sealed."""

from __future__ import annotations

from pathlib import Path
from typing import Any

from tunewise.commit import sealed, unsealed, write_file
from tunewise.commit.files import explained
from tunewise.errors import StoreError

DRAWN = "drawn.json"


def write_drawn(run_folder: Path, found: dict[str, Any]) -> None:
    """Writes the file, where anything was drawn."""
    if found:
        write_file(Path(run_folder) / DRAWN, sealed(found))


def read_drawn(run_folder: Path) -> dict[str, Any]:
    """What was written; empty where nothing was.

    Raises:
        CorruptError: it is not what was written.
        StoreError: it cannot be read.
    """
    path = Path(run_folder) / DRAWN
    if not path.is_file():
        return {}
    with explained("read", path):
        return unsealed(path.read_bytes(), path)


def damaged_drawn(run_folder: Path) -> list[StoreError]:
    """What is wrong with the file."""
    try:
        read_drawn(run_folder)
    except StoreError as problem:
        return [problem]
    return []
