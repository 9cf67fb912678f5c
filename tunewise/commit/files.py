"""One file: written whole or not at all, and failures told in plain words."""

from __future__ import annotations

import errno
import os
import re
import shutil
from collections.abc import Callable, Iterator
from contextlib import contextmanager, suppress
from pathlib import Path
from uuid import uuid4

from tunewise.errors import StoreError, TunewiseError

BINARY = getattr(os, "O_BINARY", 0)
_FULL = (errno.ENOSPC, errno.EDQUOT)
_REASONS = {
    errno.ENOSPC: ("the disk is full", "free some space, or choose a folder on another disk"),
    errno.EDQUOT: ("the disk quota is used up", "free some space, or choose a folder on another disk"),
    errno.EFBIG: ("the file is larger than this system allows", "raise the limit (ulimit -f), or use another disk"),
    errno.EACCES: ("permission denied", "give yourself the right to it, or choose another folder"),
    errno.EPERM: ("the system does not permit it", "give yourself the right to it, or choose another folder"),
    errno.EROFS: ("the file system is read-only", "choose a folder that can be written"),
    errno.EIO: ("the disk reported an error", "check the disk, and copy what matters to another one"),
    errno.EMFILE: ("this process has too many files open", "raise the limit (ulimit -n) and run it again"),
    errno.ENFILE: ("this machine has too many files open", "close other programs and run it again"),
    errno.ENOENT: ("there is no such file or folder", "check the path"),
    errno.ENOTDIR: ("a part of the path is a file, not a folder", "check the path, or choose another folder"),
    errno.ENAMETOOLONG: ("the name is too long", "choose a shorter path"),
}


def write_file(path: Path, data: bytes | str) -> None:
    """Puts `data` (text as UTF-8) at `path`, in the place of what is there, so that a reader sees the old or the new.

    Raises:
        StoreError: it was not saved for good; what was there before, or the new content, is there whole.
    """
    path = Path(path)
    raw = data.encode() if isinstance(data, str) else data
    staging = temporary_sibling(path)
    try:
        with explained("save", path, lambda: len(raw)):
            make_folder(path.parent)
            write_new(staging, raw)
            os.replace(staging, path)
            sync_folder(path.parent)
    except BaseException:
        discard(staging)
        raise


def temporary_sibling(path: Path) -> Path:
    """A new name beside `path`: the same file system, so that a rename is atomic."""
    return path.with_name(f".tmp-{uuid4().hex}")


def write_new(path: Path, raw: bytes) -> None:
    """Writes a file that is not there yet, down to the disk."""
    descriptor = os.open(path, os.O_WRONLY | os.O_CREAT | os.O_EXCL | BINARY, 0o666)
    try:
        left = memoryview(raw)
        while left:
            left = left[os.write(descriptor, left) :]
        os.fsync(descriptor)
    finally:
        os.close(descriptor)


def make_folder(folder: Path) -> None:
    """Makes a folder and those above it, so that they survive a power cut."""
    if folder.is_dir():
        return
    make_folder(folder.parent)
    with suppress(FileExistsError):
        os.mkdir(folder)
    sync_folder(folder.parent)


def sync_folder(folder: Path) -> None:
    """Makes the names in a folder survive a power cut."""
    if os.name == "nt":  # Windows cannot open a folder to sync it
        return
    descriptor = os.open(folder, os.O_RDONLY)
    try:
        os.fsync(descriptor)
    except OSError as exc:
        if exc.errno not in (errno.EINVAL, errno.ENOTSUP):  # some network file systems cannot sync folders
            raise
    finally:
        os.close(descriptor)


def discard(path: Path) -> None:
    """Removes a file or folder that is not wanted any more, as far as that is possible."""
    if path.is_dir() and not path.is_symlink():
        shutil.rmtree(path, ignore_errors=True)
    else:
        with suppress(OSError):
            os.unlink(path)


@contextmanager
def explained(doing: str, path: Path, needed: Callable[[], int] | None = None) -> Iterator[None]:
    """Turns a system error into a StoreError that names the path, the bytes needed, and what to do."""
    try:
        yield
    except TunewiseError:
        raise
    except Exception as exc:
        number = _error_number(exc)
        if number is None:
            raise
        reason, fix = _REASONS.get(number) or (_words(number, exc), "check the path and the disk, then run it again")
        free = f", {_free(path):,} bytes are free" if number in _FULL else ""
        culprit = getattr(exc, "filename", None)
        raise StoreError(
            f"cannot {doing} {path}{_told(needed)}: {reason}{free}", where=str(culprit or path), fix=fix
        ) from exc


def _error_number(exc: Exception) -> int | None:
    """The system's number of an error, 0 where it has none; None where it is no error of the system."""
    if isinstance(exc, OSError):
        return exc.errno or 0  # numpy's when a disk takes only a part: "1000 requested and 252 written"
    told = re.search(r"\(os error (\d+)\)", str(exc))  # safetensors and tokenizers report system errors as text only
    return int(told[1]) if told else None


def _words(number: int, exc: Exception) -> str:
    return os.strerror(number) if number else f"the disk did not take or give all of it ({exc})"


def _told(needed: Callable[[], int] | None) -> str:
    try:
        return f" ({needed():,} bytes needed)" if needed else ""
    except OSError:  # the disk does not even tell what is there; the first error says more
        return ""


def _free(path: Path) -> int:
    try:
        there = next(folder for folder in path.absolute().parents if folder.exists())
        return shutil.disk_usage(there).free
    except OSError:
        return 0
