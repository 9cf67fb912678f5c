"""Before work begins: whether a folder can be written, and whether its disk has room for what is to come."""

from __future__ import annotations

import os
import shutil
from pathlib import Path

from tunewise.commit.files import explained, temporary_sibling
from tunewise.errors import StoreError


def check_writable(folder: Path) -> None:
    """Writes, syncs and deletes a small file in a folder, or in the first above it that is there; makes no folder.

    Raises:
        StoreError: it cannot be written; says why.
    """
    folder = Path(folder).absolute()
    there = next(place for place in (folder, *folder.parents) if os.path.lexists(place))
    with explained("write into", folder):
        if not there.is_dir():
            raise NotADirectoryError(20, "not a folder", str(there))
        probe = temporary_sibling(there / "probe")
        descriptor = os.open(probe, os.O_WRONLY | os.O_CREAT | os.O_EXCL, 0o666)
        try:
            if os.name != "nt":  # so that not even a kill while the disk is busy leaves it there
                os.unlink(probe)
            os.write(descriptor, b"tunewise")
            os.fsync(descriptor)
        finally:
            os.close(descriptor)
            if os.name == "nt":
                os.unlink(probe)


def check_room(folder: Path, needed: int, what: str, fix: str) -> None:
    """Makes sure that the disk of a folder has so many bytes free.

    Args:
        what: what they are for.
        fix: what else can be done about it than to make room.

    Raises:
        StoreError: names the bytes needed and free.
    """
    folder = Path(folder).absolute()
    there = next(place for place in (folder, *folder.parents) if place.is_dir())
    with explained("look at the disk of", folder):
        free = shutil.disk_usage(there).free
    if free < needed:
        raise StoreError(
            f"the disk has too little room for {what}: {needed:,} bytes are needed, {free:,} are free",
            where=str(folder),
            fix=f"free some space, choose a folder on another disk, or {fix}",
        )


def bytes_in(folder: Path) -> int:
    """Of all files in a folder, those in folders inside it too; 0 where it is not there."""
    with explained("read", Path(folder)):
        return sum(path.stat().st_size for path in Path(folder).rglob("*") if path.is_file())
