"""Numbered checkpoints: the current one, and an older one to fall back to."""

from __future__ import annotations

import logging
import re
from collections.abc import Callable
from pathlib import Path
from typing import Any
from uuid import uuid4

from tunewise.commit.files import discard, explained, write_file
from tunewise.commit.folder import commit_folder, damages, remove, sweep, verify
from tunewise.errors import CorruptError, StoreError

POINTER = "current"
_NAME = re.compile(r"step-(?P<step>\d{8,})-[0-9a-f]{8}")
_log = logging.getLogger(__name__)


class Series:
    """Checkpoints `step-00000120-<8 hex>` in one folder, with the file `current` that names the one to resume from.

    Args:
        parent: the folder; made when the first checkpoint is saved.
        keep: how many to keep.

    Attributes:
        warnings: what went wrong in reading, each with the file it is about. Also sent to the log.
    """

    def __init__(self, parent: Path, keep: int = 2):
        self.parent, self.keep = Path(parent), keep
        self.warnings: list[str] = []
        self._bad: set[str] = set()

    def save(self, step: int, write: Callable[[Path], None], about: dict[str, Any], *, size: int | None = None) -> Path:
        """Commits a checkpoint, makes it the current one, and deletes older ones after it verified.

        Raises:
            StoreError: saving, or deleting an older one, failed; `latest` gives the one before, or this one, whole.
        """
        if self.parent.is_dir():
            sweep(self.parent)
        new = self.parent / f"step-{step:08d}-{uuid4().hex[:8]}"
        commit_folder(new, write, {**about, "step": step}, size=size)
        try:
            verify(new)
        except StoreError:
            discard(new)
            raise
        write_file(self.parent / POINTER, new.name + "\n")
        for folder in self._outdated(new):
            remove(folder)
        return new

    def latest(self) -> Path | None:
        """The current checkpoint, verified, or where it is bad the newest that verifies; None where there is none.

        Raises:
            CorruptError: there are checkpoints, and none of them verifies.
        """
        named = self._named()
        folders = self.folders()
        candidates = sorted(folders, key=lambda folder: folder.name == named)[::-1]  # the named one, then newest first
        if named and self.parent / named not in folders:
            self._warn(f"the current checkpoint is missing: {self.parent / named}")
        for folder in candidates:
            try:
                verify(folder)
            except StoreError as exc:
                self._bad.add(folder.name)
                self._warn(f"checkpoint {folder.name} cannot be used: {exc.what} ({exc.where})")
                continue
            if folder.name != named and self.warnings:  # else a kill came before the first was named
                self._warn(f"falling back to checkpoint {folder.name}")
            return folder
        if not named and not folders:
            return None
        raise CorruptError(
            "there are checkpoints, and none of them can be used:\n  " + "\n  ".join(self.warnings),
            where=str(self.parent),
            fix="restore a checkpoint from a copy, or remove this folder to start from the beginning",
        )

    def damages(self) -> list[StoreError]:
        """Everything that is wrong with the checkpoints, file by file; reads all of them."""
        found = [problem for folder in self.folders() for problem in damages(folder)]
        told, named = len(self.warnings), self._named()
        if len(self.warnings) > told or (named and not (self.parent / named).is_dir()):
            what, fix = f"{POINTER} names no checkpoint that is there", "resume: the newest that verifies is taken"
            found.append(CorruptError(what, where=str(self.parent / POINTER), fix=fix))
        return found

    def _named(self) -> str | None:
        pointer = self.parent / POINTER
        with explained("read", pointer):
            text = pointer.read_bytes().decode(errors="replace").strip() if pointer.is_file() else ""
            there = pointer.is_file()
        if not there:  # a run that was killed while it saved its first checkpoint
            return None
        if not _NAME.fullmatch(text):
            self._warn(f"the file that names the current checkpoint is damaged: {pointer}")
            return None
        return text

    def folders(self) -> list[Path]:
        """All checkpoints, oldest first."""
        with explained("read", self.parent):
            found = list(self.parent.iterdir()) if self.parent.is_dir() else []
            folders = [path for path in found if _NAME.fullmatch(path.name) and path.is_dir()]
            return sorted(folders, key=lambda path: (_step(path), path.stat().st_mtime_ns, path.name))

    def _outdated(self, new: Path) -> list[Path]:
        """What goes: all but `keep`, those found bad, and those of later steps, which a fall-back left behind."""
        others = [folder for folder in self.folders() if folder != new]
        sound = [folder for folder in others if folder.name not in self._bad and _step(folder) <= _step(new)]
        kept = sound[max(0, len(sound) - self.keep + 1) :]
        return [folder for folder in others if folder not in kept]

    def _warn(self, message: str) -> None:
        self.warnings.append(message)
        _log.warning(message)


def _step(folder: Path) -> int:
    return int(folder.name.split("-")[1])
