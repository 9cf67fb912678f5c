"""Every file operation of a save fails once, and the process dies at every one: nothing good may be lost."""

from __future__ import annotations

import contextlib
import errno
import os
import shutil
import subprocess
import sys
from collections.abc import Callable
from pathlib import Path

import numpy as np
import pytest
from fault_bench import (
    FAULTS,
    Job,
    check_any_operation_fails,
    check_damage_is_found,
    check_killed_at_any_operation,
    file_size_limit,
)

from tunewise.commit import Series, commit_folder, sweep, verify, write_file
from tunewise.errors import StoreError


def fill(word: str) -> Callable[[Path], None]:
    def write(folder: Path) -> None:
        (folder / "weights.bin").write_bytes(word.encode() * 1000)
        (folder / "sub").mkdir()
        (folder / "sub" / "words.txt").write_text(word)

    return write


def word_in(folder: Path) -> str:
    verify(folder)
    return (folder / "sub" / "words.txt").read_text()


def read_series(root: Path, told: list[str]) -> str:
    sweep(root / "s")
    series = Series(root / "s", keep=1)
    word = word_in(series.latest())
    told += series.warnings
    return word


def read_model(root: Path, told: list[str]) -> str:
    sweep(root)
    return word_in(root / "model")


def read_text(root: Path, told: list[str]) -> str:
    sweep(root)
    return (root / "words.txt").read_text()


CHECKPOINT = Job(  # a series that keeps one: stages, renames, points, deletes
    "checkpoint",
    lambda root: Series(root / "s", keep=1).save(1, fill("old"), {}),
    lambda root: Series(root / "s", keep=1).save(2, fill("new"), {}),
    read_series,
)
REPLACED = Job(
    "replaced folder",
    lambda root: commit_folder(root / "model", fill("old"), {}),
    lambda root: commit_folder(root / "model", fill("new"), {}, replace=True),
    read_model,
)
FILE = Job(
    "file",
    lambda root: write_file(root / "words.txt", "old"),
    lambda root: write_file(root / "words.txt", "new"),
    read_text,
)
JOBS = pytest.mark.parametrize("job", [CHECKPOINT, REPLACED, FILE], ids=lambda job: job.name)


@JOBS
@pytest.mark.parametrize("fault", FAULTS)
def test_no_fault_loses_anything(job: Job, fault: str, tmp_path: Path) -> None:
    FAULTS[fault](job, tmp_path)


@pytest.mark.parametrize("job", [CHECKPOINT, REPLACED], ids=lambda job: job.name)
def test_damage_is_found(job: Job, tmp_path: Path) -> None:
    check_damage_is_found(job, tmp_path)


BAD_WRITERS = {
    "a file written in place": lambda root: (root / "words.txt").write_text("new"),
    "a rename without a reason told": lambda root: os.replace(_staged(root), root / "words.txt"),
    "an error swallowed": lambda root: _quietly(root),
    "the old one deleted first": lambda root: (root / "words.txt").unlink() or write_file(root / "words.txt", "new"),
}


def _staged(root: Path) -> Path:
    (root / "staged").write_text("new")
    return root / "staged"


def _quietly(root: Path) -> None:
    with contextlib.suppress(StoreError):
        write_file(root / "words.txt", "new")


@pytest.mark.parametrize("writer", BAD_WRITERS)
def test_the_bench_finds_writers_that_lose_something(writer: str, tmp_path: Path) -> None:
    job = Job(writer, FILE.prepare, BAD_WRITERS[writer], FILE.read)
    with pytest.raises(AssertionError):
        check_any_operation_fails(job, tmp_path / "fail")
        check_killed_at_any_operation(job, tmp_path / "kill")


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

    with file_size_limit(2000), pytest.raises(StoreError, match="the file is larger than this system allows"):
        commit_folder(tmp_path / "m", lambda to: save_file({"a": np.zeros(9000)}, to / "model.safetensors"), {})
    assert list(tmp_path.iterdir()) == []


def test_numpy_that_meets_a_limit(tmp_path: Path) -> None:
    """numpy's OSError has no number: it tells how much was written."""

    with file_size_limit(2000), pytest.raises(StoreError, match="the disk did not take or give all of it") as caught:
        commit_folder(tmp_path / "m", lambda to: np.save(to / "a.npy", np.zeros(9000)), {}, size=72_000)
    assert "72,000 bytes needed" in caught.value.what and list(tmp_path.iterdir()) == []


def test_a_disk_that_does_not_even_tell_its_state(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """What is asked for the message fails too: the first error is told all the same."""

    def broken(*_: object) -> None:
        raise OSError(errno.EIO, "Input/output error")

    def write(folder: Path) -> None:
        monkeypatch.setattr(shutil, "disk_usage", broken)
        monkeypatch.setattr(Path, "rglob", broken)
        raise OSError(errno.ENOSPC, "No space left on device")

    with pytest.raises(StoreError, match="the disk is full, 0 bytes are free"):
        commit_folder(tmp_path / "m", write, {})


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
