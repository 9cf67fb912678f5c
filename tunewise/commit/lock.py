"""One owner per run folder. The lock dies with its process, so that none is ever stale."""

from __future__ import annotations

import errno
import json
import os
import socket
import time
from collections.abc import Callable, Iterator
from contextlib import contextmanager, suppress
from datetime import UTC, datetime
from pathlib import Path
from typing import Any

from tunewise.commit.files import explained
from tunewise.errors import LockedError

LOCK = ".lock"
PATIENCE_SECONDS = 0.5  # `owner` holds the lock for microseconds while it looks
_PAUSE_SECONDS = 0.02
_WINDOWS_LOCK_BYTE = 1 << 30  # far behind the text, which others must be able to read
_NO_LINKS = getattr(os, "O_NOFOLLOW", 0)


@contextmanager
def lock(folder: Path) -> Iterator[None]:
    """Makes this process the owner of `folder` for the time of a `with` block.

    Raises:
        LockedError: another process is the owner; it is named, within a second.
        StoreError: the folder cannot be written.
    """
    path = Path(folder) / LOCK
    with explained("lock", path):
        path.parent.mkdir(parents=True, exist_ok=True)
        descriptor = os.open(path, os.O_RDWR | os.O_CREAT | _NO_LINKS, 0o666)
    try:
        with explained("lock", path):
            _take(descriptor, path)
            os.ftruncate(descriptor, 0)
            os.write(descriptor, json.dumps(_myself()).encode())
        yield
    finally:
        _close(descriptor)


@contextmanager
def turn(path: Path, wait: Callable[[], None]) -> Iterator[None]:
    """Waits until no other process is inside for the same `path`; where files cannot be locked, does not wait.

    Args:
        wait: is called while waiting, and may raise.
    """
    try:
        path.parent.mkdir(parents=True, exist_ok=True)
        descriptor = os.open(path, os.O_RDWR | os.O_CREAT | _NO_LINKS, 0o666)
    except OSError:
        yield
        return
    try:
        while _is_held(descriptor):
            wait()
            time.sleep(_PAUSE_SECONDS)
        yield
    finally:
        _close(descriptor)


def _is_held(descriptor: int) -> bool:
    """Tries to take the lock; False too where the file system has none."""
    try:
        return not _try(descriptor)
    except OSError:
        return False


def owner(folder: Path) -> dict[str, Any] | None:
    """Who holds the lock of `folder`, as `{"pid", "host", "since"}`; None where nobody does."""
    path = Path(folder) / LOCK
    try:
        descriptor = os.open(path, os.O_RDONLY | _NO_LINKS)
        try:
            return None if _try(descriptor, shared=True) else _named(path)
        finally:
            _close(descriptor)
    except OSError:  # no lock file, or a file system that does not lock
        return None


def _close(descriptor: int) -> None:
    with suppress(OSError):  # a network disk may report what concerns no data; the lock is gone all the same
        os.close(descriptor)


def _take(descriptor: int, path: Path) -> None:
    deadline = time.monotonic() + PATIENCE_SECONDS
    while not _try(descriptor):
        if time.monotonic() > deadline:
            holder = _named(path)
            raise LockedError(
                f"process {holder['pid']} on {holder['host']} has been working in this folder since {holder['since']}",
                where=str(path.parent),
                fix="wait until it has finished, stop it, or choose another folder with --out",
            )
        time.sleep(_PAUSE_SECONDS)


def _try(descriptor: int, shared: bool = False) -> bool:
    """Takes the lock if nobody has it. Those who only look share it: they do not take each other for an owner, and a
    network disk gives it to a file that is open for reading."""
    try:
        import fcntl
    except ImportError:
        import msvcrt

        os.lseek(descriptor, _WINDOWS_LOCK_BYTE, os.SEEK_SET)
        try:
            msvcrt.locking(descriptor, msvcrt.LK_NBLCK, 1)
        except OSError:
            return False
        finally:
            os.lseek(descriptor, 0, os.SEEK_SET)
        return True
    try:
        fcntl.flock(descriptor, (fcntl.LOCK_SH if shared else fcntl.LOCK_EX) | fcntl.LOCK_NB)
    except OSError as exc:
        if exc.errno in (errno.EAGAIN, errno.EACCES):
            return False
        raise
    return True


def _myself() -> dict[str, Any]:
    return {
        "pid": os.getpid(),
        "host": socket.gethostname(),
        "since": datetime.now(UTC).isoformat(sep=" ", timespec="seconds"),
    }


def _named(path: Path) -> dict[str, Any]:
    unknown = {"pid": "unknown", "host": "an unknown machine", "since": "an unknown time"}
    try:
        return {**unknown, **json.loads(path.read_bytes())}
    except (OSError, ValueError, TypeError):  # the holder is between taking the lock and writing its name
        return unknown
