"""What killed processes left behind in folders that nobody owns."""

from __future__ import annotations

import os
import time
from collections.abc import Iterable, Iterator
from contextlib import contextmanager, suppress
from pathlib import Path

from tunewise.commit.files import discard, explained, temporary_sibling, write_file
from tunewise.commit.folder import ASIDE, TEMPORARY

ABANDONED_SECONDS = 86_400.0  # after so long without a change, whoever staged it was killed


def leftovers(folder: Path) -> list[Path]:
    """What was staged or moved aside directly in a folder, by a process that was killed or is still at it."""
    try:
        names = os.listdir(folder)
    except OSError:
        return []
    return [Path(folder, name) for name in sorted(names) if is_leftover(name)]


def is_leftover(name: str) -> bool:
    return bool(TEMPORARY.fullmatch(name) or ASIDE.fullmatch(name))


def discard_abandoned(paths: Iterable[Path]) -> None:
    """Removes those of these leftovers that nobody has changed for a day."""
    for path in paths:
        with suppress(OSError):
            if time.time() - _changed(path) > ABANDONED_SECONDS:
                discard(path)


@contextmanager
def scratch_folder(parent: Path) -> Iterator[Path]:
    """A new folder in `parent` that is gone after the block. What a kill leaves of one goes a day later, with the next.

    Raises:
        StoreError: it cannot be made.
    """
    discard_abandoned(found for found in leftovers(parent) if TEMPORARY.fullmatch(found.name))
    folder = temporary_sibling(parent / "scratch")
    with explained("make", folder):
        folder.mkdir(mode=0o700)
    try:
        yield folder
    finally:
        discard(folder)


def export_file(path: Path, data: bytes | str) -> None:
    """`write_file` into a user's folder, which no run owns and sweeps: staged files of yesterday are cleared here.

    Raises:
        StoreError: it was not saved for good; what was there before, or the new content, is there whole.
    """
    path = Path(path)
    discard_abandoned(found for found in leftovers(path.parent) if TEMPORARY.fullmatch(found.name) and found.is_file())
    write_file(path, data)


def _changed(path: Path) -> float:
    """When a folder or a file in it was last changed."""
    return max(inner.lstat().st_mtime for inner in (path, *path.rglob("*")))
