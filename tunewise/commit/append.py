"""A file that only grows: what it holds is never touched, and a row is there whole once it is written."""

from __future__ import annotations

import os
from contextlib import suppress
from pathlib import Path

from tunewise.commit.files import BINARY, explained, make_folder


class AppendedFile:
    """Rows at the end of a file, each with one call and no buffer: a killed process tears the last one at most, and a
    full disk none, since what was written of a row is taken back.

    Args:
        new: whether the file must not be there yet.

    Raises:
        StoreError: the file cannot be opened; so do the methods when the disk fails.
    """

    def __init__(self, path: Path, *, new: bool = False):
        self.path = Path(path)
        with explained("open", self.path):
            make_folder(self.path.parent)
            flags = os.O_WRONLY | os.O_CREAT | os.O_APPEND | (os.O_EXCL if new else 0) | BINARY
            self._descriptor: int | None = os.open(self.path, flags, 0o666)

    @property
    def closed(self) -> bool:
        return self._descriptor is None

    def write(self, row: bytes) -> int:
        """Appends a row; returns its length, as files do."""
        with explained("write to", self.path, lambda: len(row)):
            before, left = os.fstat(self._descriptor).st_size, memoryview(row)
            try:
                while left:
                    left = left[os.write(self._descriptor, left) :]
            except BaseException:
                with suppress(OSError):
                    os.ftruncate(self._descriptor, before)
                raise
        return len(row)

    def flush(self) -> None:
        """Nothing waits here: every row is with the system already."""

    def sync(self) -> None:
        """Makes what is written survive a power cut."""
        with explained("save", self.path):
            os.fsync(self._descriptor)

    def close(self) -> None:
        descriptor, self._descriptor = self._descriptor, None
        if descriptor is not None:
            with explained("close", self.path):
                os.close(descriptor)
