from __future__ import annotations

import os
import signal
import subprocess
import sys
import time
import types
from pathlib import Path

import pytest

from tunewise.commit import lock, owner
from tunewise.errors import LockedError, StoreError

HOLD = """
import sys, time
from tunewise.commit import lock
with lock(sys.argv[1]):
    print("locked", flush=True)
    time.sleep(60)
"""


@pytest.fixture
def holder(tmp_path: Path):
    process = subprocess.Popen([sys.executable, "-c", HOLD, str(tmp_path)], stdout=subprocess.PIPE, text=True)
    assert process.stdout.readline() == "locked\n"
    yield process
    process.kill()
    process.wait()
    process.stdout.close()


def test_the_loser_names_the_holder_within_a_second(holder: subprocess.Popen, tmp_path: Path) -> None:
    start = time.monotonic()
    with pytest.raises(LockedError, match=f"process {holder.pid} on .* since 2") as caught, lock(tmp_path):
        pytest.fail("two owners")
    assert time.monotonic() - start < 1
    assert caught.value.where == str(tmp_path)
    assert owner(tmp_path)["pid"] == holder.pid


def test_a_killed_holder_leaves_no_stale_lock(holder: subprocess.Popen, tmp_path: Path) -> None:
    os.kill(holder.pid, signal.SIGKILL)
    holder.wait()
    assert owner(tmp_path) is None
    with lock(tmp_path):
        assert owner(tmp_path)["pid"] == os.getpid()


def test_one_process_cannot_own_twice(tmp_path: Path) -> None:
    with lock(tmp_path / "new"), pytest.raises(LockedError, match=f"process {os.getpid()}"), lock(tmp_path / "new"):
        pytest.fail("two owners")
    with lock(tmp_path / "new"):
        pass
    assert owner(tmp_path / "new") is None


def test_released_when_the_work_fails(tmp_path: Path) -> None:
    with pytest.raises(ZeroDivisionError), lock(tmp_path):
        raise ZeroDivisionError
    assert owner(tmp_path) is None


@pytest.mark.parametrize("text", ["", "{", "[1]", '{"pid": 1}', "\xff"])
def test_a_holder_that_has_not_written_its_name(tmp_path: Path, text: str) -> None:
    with lock(tmp_path):
        (tmp_path / ".lock").write_text(text)
        with pytest.raises(LockedError, match="since an unknown time"), lock(tmp_path):
            pytest.fail("two owners")


def test_nobody(tmp_path: Path) -> None:
    assert owner(tmp_path) is None and owner(tmp_path / "absent") is None
    assert list(tmp_path.iterdir()) == []


def test_a_link_is_not_followed(tmp_path: Path) -> None:
    (tmp_path / "precious").write_text("keep me")
    (tmp_path / "run").mkdir()
    (tmp_path / "run" / ".lock").symlink_to(tmp_path / "precious")
    with pytest.raises(StoreError, match="cannot lock"), lock(tmp_path / "run"):
        pytest.fail("locked through a link")
    assert (tmp_path / "precious").read_text() == "keep me"


def test_where_there_is_no_flock(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """The way taken on Windows, with a stand-in for msvcrt.locking: one holder, at a byte behind the text."""
    held: list[int] = []

    def locking(descriptor: int, mode: int, length: int) -> None:
        assert (mode, length) == (2, 1)
        assert os.lseek(descriptor, 0, os.SEEK_CUR) > 1_000_000
        if held:
            raise OSError(36, "Resource deadlock avoided")
        held.append(descriptor)

    monkeypatch.setitem(sys.modules, "fcntl", None)
    monkeypatch.setitem(sys.modules, "msvcrt", types.SimpleNamespace(locking=locking, LK_NBLCK=2))
    with lock(tmp_path):
        assert owner(tmp_path)["pid"] == os.getpid()
        assert (tmp_path / ".lock").stat().st_size < 1000
        with pytest.raises(LockedError), lock(tmp_path):
            pytest.fail("two owners")
