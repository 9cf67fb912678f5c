"""`looked_at.json` of a run on images: what the model looked at (`engine.looked_at.look`), sealed."""

from __future__ import annotations

from pathlib import Path
from typing import Any

from tunewise.commit import sealed, unsealed, write_file
from tunewise.commit.files import explained
from tunewise.errors import StoreError

LOOKED_AT = "looked_at.json"


def write_looked_at(run_folder: Path, found: dict[str, Any]) -> None:
    """Writes the file, where anything was looked at."""
    if found:
        write_file(Path(run_folder) / LOOKED_AT, sealed(found))


def read_looked_at(run_folder: Path) -> dict[str, Any]:
    """What was written; empty where nothing was.

    Raises:
        CorruptError: it is not what was written.
        StoreError: it cannot be read.
    """
    path = Path(run_folder) / LOOKED_AT
    if not path.is_file():
        return {}
    with explained("read", path):
        return unsealed(path.read_bytes(), path)


def damaged_looked_at(run_folder: Path) -> list[StoreError]:
    """What is wrong with the file."""
    try:
        read_looked_at(run_folder)
    except StoreError as problem:
        return [problem]
    return []
