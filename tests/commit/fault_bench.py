"""What every writer must bear: each file operation of a save fails, is interrupted, or is the last of its process; the
disk takes no more from some byte on; and every file is cut or has a bit turned afterwards."""

from __future__ import annotations

import builtins
import contextlib
import errno
import io
import os
import resource
import signal
from collections.abc import Callable, Iterator
from dataclasses import dataclass
from functools import partial
from pathlib import Path
from typing import Any

import pytest

from tunewise.errors import StoreError

OPERATIONS = (
    "open",
    "write",
    "fsync",
    "close",
    "rename",
    "replace",
    "mkdir",
    "unlink",
    "rmdir",
    "scandir",
    "listdir",
    "ftruncate",
)
CHANGING = {"write", "fsync", "rename", "replace", "mkdir", "unlink", "rmdir", "ftruncate"}
ERRORS = (errno.ENOSPC, errno.EIO, errno.EACCES, errno.EROFS, errno.EMFILE)
MOST = 400
KILLED = 9


@dataclass(frozen=True)
class Job:
    """A save that can be tried many times over.

    Args:
        prepare: puts the earlier version into an empty folder, or whatever comes before it.
        work: saves the new one. It raises a StoreError where it could not; or returns False, where a failure is told
            as a warning.
        read: what the next owner of the folder finds: "old" or "new", everything verified, leftovers swept. Appends to
            its second argument what it is warned of.
    """

    name: str
    prepare: Callable[[Path], object]
    work: Callable[[Path], object]
    read: Callable[[Path, list[str]], str]


class Operations:
    """Counts the calls of os, and the files opened in Python, that concern a folder; lets something happen in place of
    the nth, and where it lasts, of every later one that would change the disk.

    Not seen is what libraries do in C, C++ or Rust: see `file_size_limit`.
    """

    def __init__(
        self,
        patch: pytest.MonkeyPatch,
        root: Path,
        nth: int,
        happen: Callable[[], None],
        *,
        lasts: bool = False,
        names: tuple[str, ...] = OPERATIONS,
    ):
        self.root, self.nth, self.happen, self.lasts = str(root), nth, happen, lasts
        self.calls: list[tuple[str, tuple[Any, ...]]] = []
        for name in names:
            patch.setattr(os, name, self._wrapped(name, getattr(os, name)))
        if "open" in names:
            opened = self._opening(builtins.open)
            patch.setattr(builtins, "open", opened)
            patch.setattr(io, "open", opened)  # what pathlib calls

    def step(self, name: str, args: tuple[Any, ...], changes: bool) -> None:
        self.calls.append((name, args))
        if len(self.calls) == self.nth or (self.lasts and changes and len(self.calls) > self.nth):
            self.happen()

    def concerns(self, args: tuple[Any, ...]) -> bool:
        paths = [os.fspath(arg) for arg in args if isinstance(arg, (str, os.PathLike))]
        # Without an absolute path it is about a descriptor, or relative to one.
        return not any(map(os.path.isabs, paths)) or any(path.startswith(self.root) for path in paths)

    def _wrapped(self, name: str, real: Callable) -> Callable:
        def call(*args: Any, **options: Any) -> Any:
            if not self.concerns(args):
                return real(*args, **options)
            if name == "close":  # a descriptor is gone whether close reports an error or not
                real(*args)
                self.step(name, args, False)
                return None
            self.step(name, args, name in CHANGING or (name == "open" and bool(args[1] & os.O_CREAT)))
            return real(*args, **options)

        return call

    def _opening(self, real: Callable) -> Callable:
        def call(file: Any, mode: str = "r", *args: Any, **options: Any) -> Any:
            if not isinstance(file, (str, os.PathLike)) or not os.fspath(file).startswith(self.root):
                return real(file, mode, *args, **options)
            writes = any(letter in mode for letter in "wax+")
            self.step("open", (file, mode), writes)
            opened = real(file, mode, *args, **options)
            return Watched(opened, self) if writes else opened

        return call


class Watched:
    """A file open for writing, whose `write` and `close` are operations."""

    def __init__(self, file: Any, operations: Operations):
        self._file, self._operations = file, operations

    def write(self, data: Any) -> int:
        self._operations.step("write", (self._file.name,), True)
        return self._file.write(data)

    def close(self) -> None:
        self._file.close()
        self._operations.step("close", (self._file.name,), False)

    def __getattr__(self, name: str) -> Any:
        return getattr(self._file, name)

    def __enter__(self) -> Watched:
        return self

    def __exit__(self, *problem: object) -> None:
        self.close()


# ---------------------------------------------------------------- the properties


def check_any_operation_fails(job: Job, root: Path, *, lasts: bool = False) -> None:
    """No false "saved", no good version lost, the path and the bytes needed named, nothing left behind."""
    for nth, folder in _tries(job, root):
        number = errno.EROFS if lasts else ERRORS[nth % len(ERRORS)]
        with pytest.MonkeyPatch.context() as patch:

            def fail(number: int = number) -> None:
                raise OSError(number, os.strerror(number))

            operations = Operations(patch, folder, nth, fail, lasts=lasts)
            saved, raised = _carried_out(job, folder)
        found = job.read(folder, [])
        assert not leftovers(folder), (operations.calls[nth - 1 :][:1], leftovers(folder))
        if len(operations.calls) < nth:
            assert saved and found == "new"
            assert nth > 5, "a save has more operations than these"
            return
        if saved:  # what failed was reading, or clearing up, which is no loss
            assert found == "new", operations.calls[nth - 1]
        elif raised:
            told = str(raised)
            assert raised.exit_code != 0 and raised.fix and str(folder) in told
            assert found == "new" or "bytes needed" in told or "cannot clear" in told or "cannot read" in told, told
    pytest.fail("no clean pass")


def check_killed_at_any_operation(job: Job, root: Path) -> None:
    """The old version or the new one verifies, whenever the process dies; and both are seen."""
    seen = set()
    for nth, folder in _tries(job, root):
        code = _in_child(lambda nth=nth, folder=folder: _work_until(job, folder, nth))
        assert code in (0, KILLED), "the child met an error"
        seen.add(job.read(folder, []))
        assert not leftovers(folder)
        if code == 0:
            assert seen == {"old", "new"}
            return
    pytest.fail("no clean pass")


def check_ctrl_c_at_any_operation(job: Job, root: Path) -> None:
    # not at close: shutil.rmtree of Python 3.11 closes twice when interrupted there
    names = tuple(name for name in OPERATIONS if name != "close")
    for nth, folder in _tries(job, root):
        with pytest.MonkeyPatch.context() as patch:

            def interrupt() -> None:
                raise KeyboardInterrupt

            operations = Operations(patch, folder, nth, interrupt, names=names)
            with contextlib.suppress(KeyboardInterrupt):
                job.work(folder)
        assert job.read(folder, []) in ("old", "new")
        assert not leftovers(folder)
        if len(operations.calls) < nth:
            return
    pytest.fail("no clean pass")


def check_the_disk_takes_no_more(job: Job, root: Path) -> None:
    """From some byte of each file on, whoever writes it, in whatever language: first with an error, then with a kill in
    the middle of the write."""
    limits = _telling_limits(job, root / "whole")
    for limit in limits:
        folder = root / f"error-{limit}"
        _prepared(job, folder)
        with file_size_limit(limit):
            saved, raised = _carried_out(job, folder)
        assert not saved and job.read(folder, []) == "old" and not leftovers(folder)
        if raised:
            assert "bytes needed" in str(raised) and str(folder) in str(raised)
    for limit in limits:
        folder = root / f"kill-{limit}"
        _prepared(job, folder)
        assert _in_child(lambda limit=limit, folder=folder: _work_with(job, folder, limit)) == -signal.SIGXFSZ
        assert job.read(folder, []) == "old" and not leftovers(folder)


def check_damage_is_found(job: Job, root: Path, *, places: int = 9) -> None:
    """Cut short or with one bit turned, a file is named in an error or a warning, or what is read is right all the
    same."""
    root = root / "made"
    _prepared(job, root)
    job.work(root)
    assert job.read(root, []) == "new"
    kept = {path: path.read_bytes() for path in sorted(root.rglob("*")) if path.is_file() and path.name != ".lock"}
    found = 0
    for path, raw in kept.items():
        for harmed in _harmed(raw, places):
            path.write_bytes(harmed)
            told: list[str] = []
            try:
                version = job.read(root, told)
            except StoreError as problem:
                told.append(str(problem))
                version = None
            assert version == "new" or any(path.name in line for line in told), (path, told)
            found += bool(told)
            _restore(root, kept)
    assert found, "no damage at all was found"


FAULTS: dict[str, Callable[[Job, Path], None]] = {
    "an operation fails": check_any_operation_fails,
    "all operations fail from one on": partial(check_any_operation_fails, lasts=True),
    "the process is killed": check_killed_at_any_operation,
    "it is interrupted": check_ctrl_c_at_any_operation,
    "the disk takes no more": check_the_disk_takes_no_more,
}
"""What every save must bear while it is at work; what its files must bear afterwards is `check_damage_is_found`."""


def leftovers(root: Path) -> list[Path]:
    return [*root.rglob(".tmp-*"), *root.rglob(".old-*")]


@contextlib.contextmanager
def file_size_limit(size: int) -> Iterator[None]:
    """No file of this process can become larger: a full disk that also meets what is written in C, C++ and Rust."""
    soft, hard = resource.getrlimit(resource.RLIMIT_FSIZE)
    resource.setrlimit(resource.RLIMIT_FSIZE, (size, hard))
    try:
        yield
    finally:
        resource.setrlimit(resource.RLIMIT_FSIZE, (soft, hard))


# ---------------------------------------------------------------- how


def _tries(job: Job, root: Path) -> Iterator[tuple[int, Path]]:
    for nth in range(1, MOST):
        folder = root / str(nth)
        _prepared(job, folder)
        yield nth, folder


def _prepared(job: Job, folder: Path) -> None:
    folder.mkdir(parents=True)
    job.prepare(folder)


def _carried_out(job: Job, folder: Path) -> tuple[bool, StoreError | None]:
    """Whether it claims to have saved, and its error."""
    try:
        return job.work(folder) is not False, None
    except StoreError as problem:
        return False, problem
    except OSError as problem:
        raise AssertionError("an error of the system reaches the user as it is") from problem


def _in_child(act: Callable[[], None]) -> int:
    child = os.fork()
    if child == 0:
        try:
            act()
            os._exit(0)
        finally:
            os._exit(1)
    return os.waitstatus_to_exitcode(os.waitpid(child, 0)[1])


def _work_until(job: Job, folder: Path, nth: int) -> None:
    with pytest.MonkeyPatch.context() as patch:
        Operations(patch, folder, nth, lambda: os._exit(KILLED))
        job.work(folder)


def _work_with(job: Job, folder: Path, limit: int) -> None:
    signal.signal(signal.SIGXFSZ, signal.SIG_DFL)  # kills; Python ignores it, so that an error comes in its place
    resource.setrlimit(resource.RLIMIT_CORE, (0, 0))
    with file_size_limit(limit):
        job.work(folder)


def _telling_limits(job: Job, folder: Path) -> list[int]:
    """Nothing, and half and all but a byte of every file that the save makes."""
    _prepared(job, folder)
    before = _states(folder)
    job.work(folder)
    sizes = [state[1] for path, state in _states(folder).items() if before.get(path) != state]
    return sorted({0, *(size // 2 for size in sizes), *(size - 1 for size in sizes if size)} - {max(sizes)})


def _states(folder: Path) -> dict[Path, tuple[int, int]]:
    return {
        path: (path.stat().st_mtime_ns, path.stat().st_size)
        for path in folder.rglob("*")
        if path.is_file() and path.name != ".lock"
    }


def _harmed(raw: bytes, places: int) -> Iterator[bytes]:
    for length in sorted({0, len(raw) // 2, len(raw) - 1} - {len(raw)}):
        yield raw[: max(0, length)]
    for place in sorted({number * (len(raw) - 1) // max(1, places - 1) for number in range(places)}) if raw else ():
        yield raw[:place] + bytes([raw[place] ^ 1 << place % 8]) + raw[place + 1 :]


def _restore(root: Path, kept: dict[Path, bytes]) -> None:
    for path in root.rglob("*"):
        if path.is_file() and path not in kept:
            path.unlink()
    for path, raw in kept.items():
        path.parent.mkdir(parents=True, exist_ok=True)
        path.write_bytes(raw)
