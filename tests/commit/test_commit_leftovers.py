"""Folders that nobody owns: what killed processes left there goes a day later, and nothing else does."""

from __future__ import annotations

import os
import time
from pathlib import Path

import pytest

from tunewise.commit import export_file, leftovers
from tunewise.commit.leftovers import ABANDONED_SECONDS, scratch_folder
from tunewise.errors import StoreError

OLD, BUSY, ASIDE = f".tmp-{'0' * 32}", f".tmp-{'1' * 32}", f".old-{'2' * 32}-model"
OTHERS = (".tmp-mine", f".tmp-{'A' * 32}", f"tmp-{'0' * 32}", "notes.txt")


def aged(path: Path) -> None:
    then = time.time() - 2 * ABANDONED_SECONDS
    os.utime(path, (then, then))


@pytest.fixture
def place(tmp_path: Path) -> Path:
    """With what was staged two days ago and just now, something moved aside, and things of the user's, all old."""
    for name in (OLD, BUSY, *OTHERS):
        (tmp_path / name).write_text("half")
    (tmp_path / ASIDE).mkdir()
    (tmp_path / ASIDE / "weights").write_text("good")
    for name in (OLD, f"{ASIDE}/weights", ASIDE, *OTHERS):
        aged(tmp_path / name)
    return tmp_path


def names(place: Path) -> set[str]:
    return {path.name for path in place.iterdir()}


def test_what_is_a_leftover(place: Path) -> None:
    assert [path.name for path in leftovers(place)] == sorted((OLD, BUSY, ASIDE))
    assert leftovers(place / "absent") == []


def test_an_export_clears_the_staged_files_of_yesterday(place: Path) -> None:
    """A folder that was moved aside holds a good version: only its owner decides about that."""
    export_file(place / "out.csv", "a")
    assert names(place) == {BUSY, ASIDE, *OTHERS, "out.csv"}


def test_a_scratch_folder_is_gone_afterwards(place: Path) -> None:
    with pytest.raises(KeyError), scratch_folder(place) as folder:
        assert folder.parent == place and folder.stat().st_mode & 0o777 == 0o700
        (folder / "run").mkdir()
        (folder / "run" / "data").write_text("x")
        raise KeyError
    assert names(place) == {BUSY, ASIDE, *OTHERS}


def test_a_killed_scratch_folder_goes_a_day_later(tmp_path: Path) -> None:
    child = os.fork()
    if child == 0:
        with scratch_folder(tmp_path) as folder:
            (folder / "data").write_text("x")
            os._exit(9)
    os.waitpid(child, 0)
    (left,) = tmp_path.iterdir()
    with scratch_folder(tmp_path):
        assert left.exists()  # it may be at work
    for path in (left / "data", left):
        aged(path)
    with scratch_folder(tmp_path):
        assert not left.exists()
    assert list(tmp_path.iterdir()) == []


def test_a_scratch_folder_that_cannot_be_made(tmp_path: Path) -> None:
    with pytest.raises(StoreError, match="cannot make"), scratch_folder(tmp_path / "absent"):
        pytest.fail("made")
