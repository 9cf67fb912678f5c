"""Every file operation of a save fails once, and the process dies at every one: nothing good may be lost."""

from __future__ import annotations

import contextlib
import errno
import os
import resource
import subprocess
import sys
from collections.abc import Callable
from pathlib import Path

import numpy as np
import pytest

from tunewise.commit import Series, commit_folder, sweep, verify, write_file
from tunewise.errors import StoreError

OPERATIONS = ("open", "write", "fsync", "close", "rename", "replace", "mkdir", "unlink", "rmdir", "scandir")
ERRORS = (errno.ENOSPC, errno.EIO, errno.EACCES, errno.EROFS, errno.EMFILE)


class Operations:
    """Counts the calls of the os functions that change the disk, and lets something happen in place of the nth."""

    def __init__(
        self,
        monkeypatch: pytest.MonkeyPatch,
        nth: int,
        happen: Callable[[], None],
        names: tuple[str, ...] = OPERATIONS,
    ):
        self.calls: list[tuple[str, tuple]] = []
        for name in names:
            monkeypatch.setattr(os, name, self._wrapped(name, getattr(os, name), nth, happen))

    def _wrapped(self, name: str, real: Callable, nth: int, happen: Callable[[], None]) -> Callable:
        def call(*args, **options):
            self.calls.append((name, args))
            if len(self.calls) == nth:
                if name == "close":  # a descriptor is gone whether close reports an error or not
                    real(*args)
                happen()
            return real(*args, **options)

        return call


def fill(word: str) -> Callable[[Path], None]:
    def write(folder: Path) -> None:
        (folder / "weights.bin").write_bytes(word.encode() * 1000)
        (folder / "sub").mkdir()
        (folder / "sub" / "words.txt").write_text(word)

    return write


def word_in(folder: Path) -> str:
    verify(folder)
    return (folder / "sub" / "words.txt").read_text()


class CheckpointJob:
    """Third checkpoint of a series that keeps one: stages, renames, points, deletes."""

    def prepare(self, root: Path) -> None:
        Series(root / "s", keep=1).save(1, fill("old"), {})

    def work(self, root: Path) -> None:
        Series(root / "s", keep=1).save(2, fill("new"), {})

    def read(self, root: Path) -> str:
        sweep(root / "s")
        for folder in (root / "s").glob("step-*"):
            verify(folder)
        series = Series(root / "s", keep=1)
        word = word_in(series.latest())
        assert series.warnings == []
        return word


class ReplaceJob:
    """A model folder that takes the place of another."""

    def prepare(self, root: Path) -> None:
        commit_folder(root / "model", fill("old"), {})

    def work(self, root: Path) -> None:
        commit_folder(root / "model", fill("new"), {}, replace=True)

    def read(self, root: Path) -> str:
        sweep(root)
        return word_in(root / "model")


class FileJob:
    def prepare(self, root: Path) -> None:
        write_file(root / "record.json", "old")

    def work(self, root: Path) -> None:
        write_file(root / "record.json", "new")

    def read(self, root: Path) -> str:
        sweep(root)
        return (root / "record.json").read_text()


JOBS = pytest.mark.parametrize("job", [CheckpointJob(), ReplaceJob(), FileJob()], ids=lambda job: type(job).__name__)


def leftovers(root: Path) -> list[Path]:
    return [*root.rglob(".tmp-*"), *root.rglob(".old-*")]


@JOBS
def test_any_operation_fails(job, tmp_path: Path) -> None:
    failures = 0
    for nth in range(1, 200):
        number = ERRORS[nth % len(ERRORS)]
        root = tmp_path / str(nth)
        root.mkdir()
        job.prepare(root)
        raised = None
        with pytest.MonkeyPatch.context() as patch:

            def fail(number: int = number) -> None:
                raise OSError(number, os.strerror(number))

            operations = Operations(patch, nth, fail)
            try:
                job.work(root)
            except StoreError as exc:
                raised = exc
        if len(operations.calls) < nth:
            assert raised is None and job.read(root) == "new"
            break
        failures += 1
        cleaning = raised is None  # the failing call was in clearing up, whose failure is no loss
        assert job.read(root) in (("new",) if cleaning else ("old", "new")), operations.calls[-1]
        assert not leftovers(root)
        if raised:
            assert str(root) in str(raised) and raised.fix and raised.exit_code != 0
    else:
        pytest.fail("no clean pass")
    assert failures >= 5


@JOBS
def test_killed_at_any_operation(job, tmp_path: Path) -> None:
    seen = set()
    for nth in range(1, 200):
        root = tmp_path / str(nth)
        root.mkdir()
        job.prepare(root)
        child = os.fork()
        if child == 0:
            try:
                with pytest.MonkeyPatch.context() as patch:
                    Operations(patch, nth, lambda: os._exit(9))
                    job.work(root)
            finally:
                os._exit(0)
        code = os.waitstatus_to_exitcode(os.waitpid(child, 0)[1])
        seen.add(job.read(root))
        assert not leftovers(root)
        if code == 0:
            break
    else:
        pytest.fail("no clean pass")
    assert code == 0 and nth > 5 and seen == {"old", "new"}


@JOBS
def test_ctrl_c_at_any_operation(job, tmp_path: Path) -> None:
    for nth in range(1, 200):
        root = tmp_path / str(nth)
        root.mkdir()
        job.prepare(root)
        with pytest.MonkeyPatch.context() as patch:

            def interrupt() -> None:
                raise KeyboardInterrupt

            # not at close: shutil.rmtree of Python 3.11 closes twice when interrupted there
            operations = Operations(patch, nth, interrupt, tuple(name for name in OPERATIONS if name != "close"))
            with contextlib.suppress(KeyboardInterrupt):
                job.work(root)
        assert job.read(root) in ("old", "new")
        if len(operations.calls) < nth:
            return
    pytest.fail("no clean pass")


@pytest.mark.skipif(not Path("/proc/self/fd").is_dir(), reason="tells which file a descriptor is by /proc")
def test_everything_is_on_disk_before_the_rename(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    synced: list[Path] = []
    at_rename: list[Path] = []
    real_fsync, real_rename = os.fsync, os.rename

    def fsync(descriptor: int) -> None:
        synced.append(Path(os.readlink(f"/proc/self/fd/{descriptor}")))
        real_fsync(descriptor)

    def rename(source: Path, target: Path) -> None:
        at_rename.extend(synced)
        real_rename(source, target)

    monkeypatch.setattr(os, "fsync", fsync)
    monkeypatch.setattr(os, "rename", rename)
    commit_folder(tmp_path / "new" / "model", fill("new"), {})
    staged = [path.relative_to(tmp_path / "new").parts[1:] for path in at_rename if ".tmp-" in str(path)]
    assert set(staged) == {(), ("weights.bin",), ("sub",), ("sub", "words.txt"), ("manifest.json",)}
    assert staged[-2:] == [("manifest.json",), ()]
    assert tmp_path in at_rename  # the folder that was made for it
    assert synced[-1] == tmp_path / "new"


@pytest.mark.parametrize(
    ("number", "words"),
    [
        (errno.EACCES, "permission denied"),
        (errno.EROFS, "the file system is read-only"),
        (errno.EIO, "the disk reported an error"),
        (errno.EMFILE, "this process has too many files open"),
        (errno.EXDEV, os.strerror(errno.EXDEV)),
    ],
)
def test_each_error_is_told_in_its_words(
    number: int, words: str, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    def replace(source: Path, target: Path) -> None:
        raise OSError(number, os.strerror(number), str(source))

    monkeypatch.setattr(os, "replace", replace)
    with pytest.raises(StoreError) as caught:
        write_file(tmp_path / "record.json", "12345")
    assert caught.value.what == f"cannot save {tmp_path / 'record.json'} (5 bytes needed): {words}"
    assert list(tmp_path.iterdir()) == []


def test_a_full_disk_is_told_with_bytes_needed(tmp_path: Path) -> None:
    def write(folder: Path) -> None:
        (folder / "half.bin").write_bytes(b"x" * 500)
        raise OSError(errno.ENOSPC, "No space left on device", str(folder / "half.bin"))

    with pytest.raises(StoreError, match=r"model \(500 bytes needed\): the disk is full, [\d,]+ bytes are free"):
        commit_folder(tmp_path / "model", write, {})
    with pytest.raises(StoreError, match=r"1,000,000 bytes needed"):
        commit_folder(tmp_path / "model", write, {}, size=1_000_000)
    assert list(tmp_path.iterdir()) == []


def test_safetensors_that_meets_a_limit(tmp_path: Path) -> None:
    """safetensors raises no OSError; a real limit on the file size stands for the full disk."""
    from safetensors.numpy import save_file

    soft, hard = resource.getrlimit(resource.RLIMIT_FSIZE)
    resource.setrlimit(resource.RLIMIT_FSIZE, (2000, hard))
    try:
        with pytest.raises(StoreError, match="the file is larger than this system allows"):
            commit_folder(tmp_path / "m", lambda to: save_file({"a": np.zeros(9000)}, to / "model.safetensors"), {})
    finally:
        resource.setrlimit(resource.RLIMIT_FSIZE, (soft, hard))
    assert list(tmp_path.iterdir()) == []


def test_an_error_of_the_writer_passes_and_leaves_nothing(tmp_path: Path) -> None:
    def write(folder: Path) -> None:
        (folder / "half.bin").write_bytes(b"x")
        raise ValueError("not a system error")

    with pytest.raises(ValueError, match="not a system error"):
        commit_folder(tmp_path / "model", write, {})
    assert list(tmp_path.iterdir()) == []


def test_loads_nothing_heavy() -> None:
    heavy = ("torch", "numpy", "transformers", "pydantic", "rich")
    code = f"import sys, tunewise.commit; print([m for m in {heavy!r} if m in sys.modules])"
    assert subprocess.run([sys.executable, "-c", code], capture_output=True, text=True, check=True).stdout == "[]\n"
