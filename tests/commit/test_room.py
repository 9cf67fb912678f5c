"""Whether a folder can be written and has room, told before work begins."""

from __future__ import annotations

import errno
import os
import shutil
from collections import namedtuple
from pathlib import Path

import pytest

from tunewise.commit.room import bytes_in, check_room, check_writable
from tunewise.errors import StoreError

Usage = namedtuple("Usage", "total used free")


@pytest.mark.parametrize("there", [0, 1, 3])
def test_nothing_is_made_and_nothing_left(there: int, tmp_path: Path) -> None:
    folder = tmp_path.joinpath(*"abc"[:there])
    folder.mkdir(parents=True, exist_ok=True)
    before = sorted(tmp_path.rglob("*"))
    check_writable(tmp_path / "a" / "b" / "c")
    assert sorted(tmp_path.rglob("*")) == before


@pytest.mark.parametrize(
    ("number", "told"),
    [
        (errno.EROFS, "the file system is read-only"),
        (errno.EACCES, "permission denied"),
        (errno.ENOSPC, "the disk is full"),
        (errno.EIO, "the disk reported an error"),
    ],
)
@pytest.mark.parametrize("call", ["open", "write", "fsync"])
def test_a_folder_that_cannot_be_written(
    call: str, number: int, told: str, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    def fail(*_: object) -> None:
        raise OSError(number, os.strerror(number))

    monkeypatch.setattr(os, call, fail)
    with pytest.raises(StoreError) as caught:
        check_writable(tmp_path / "run")
    monkeypatch.undo()
    assert caught.value.what.startswith(f"cannot write into {tmp_path / 'run'}: {told}") and caught.value.fix
    assert list(tmp_path.iterdir()) == []


@pytest.mark.skipif(os.name == "nt" or os.geteuid() == 0, reason="the administrator may write everywhere")
def test_a_folder_without_the_right_to_write(tmp_path: Path) -> None:
    tmp_path.chmod(0o500)
    try:
        with pytest.raises(StoreError, match="permission denied"):
            check_writable(tmp_path / "run")
    finally:
        tmp_path.chmod(0o700)


def test_a_path_through_a_file(tmp_path: Path) -> None:
    (tmp_path / "notes.txt").write_text("mine")
    with pytest.raises(StoreError, match="a part of the path is a file, not a folder") as caught:
        check_writable(tmp_path / "notes.txt" / "run")
    assert caught.value.where == str(tmp_path / "notes.txt")


def test_a_link_that_leads_nowhere(tmp_path: Path) -> None:
    (tmp_path / "run").symlink_to(tmp_path / "gone")
    with pytest.raises(StoreError, match="cannot write into"):
        check_writable(tmp_path / "run")


def test_room(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    asked: list[Path] = []
    monkeypatch.setattr(shutil, "disk_usage", lambda path: asked.append(path) or Usage(9000, 8000, 1000))
    check_room(tmp_path / "runs" / "a", 1000, "the models", "take another")
    assert asked == [tmp_path]
    with pytest.raises(StoreError) as caught:
        check_room(tmp_path / "runs" / "a", 1001, "the models", "take another")
    assert caught.value.what == "the disk has too little room for the models: 1,001 bytes are needed, 1,000 are free"
    assert caught.value.where == str(tmp_path / "runs" / "a")
    assert caught.value.fix == "free some space, choose a folder on another disk, or take another"


def test_bytes_in_a_folder(tmp_path: Path) -> None:
    (tmp_path / "a").mkdir()
    (tmp_path / "a" / "one").write_bytes(b"12345")
    (tmp_path / "two").write_bytes(b"123")
    assert bytes_in(tmp_path) == 8 and bytes_in(tmp_path / "absent") == 0
