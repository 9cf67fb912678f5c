"""Two processes, one run folder: one owner; the other is told at once who that is. Locks are never stale."""

from __future__ import annotations

import json
import os
import subprocess
import sys
import time
from collections.abc import Callable, Iterator
from pathlib import Path

import pytest

from tunewise.commit import lock, owner
from tunewise.recipe import Recipe, write_recipe

HOLD = """
import sys, time
from tunewise.commit import lock
with lock(sys.argv[1]):
    print("locked", flush=True)
    time.sleep(600)
"""


@pytest.fixture
def holder(tmp_path: Path) -> Iterator[subprocess.Popen[str]]:
    """A process that works in the folder `run`."""
    process = subprocess.Popen([sys.executable, "-c", HOLD, str(tmp_path / "run")], stdout=subprocess.PIPE, text=True)
    assert process.stdout.readline() == "locked\n"
    yield process
    process.kill()
    process.wait()
    process.stdout.close()


def test_the_loser_leaves_within_5_seconds_and_names_the_holder(
    recipe: Callable[..., Recipe], tmp_path: Path, holder: subprocess.Popen[str]
) -> None:
    (tmp_path / "recipe.yaml").write_text(write_recipe(recipe("full")))
    command = ["train", str(tmp_path / "recipe.yaml"), "--out", str(tmp_path / "run"), "--resume"]
    begun = time.monotonic()
    done = subprocess.run([sys.executable, "-m", "tunewise.cli.main", *command], capture_output=True, text=True)
    assert done.returncode == 1 and time.monotonic() - begun < 5
    told = done.stderr.splitlines()
    assert told[-3].startswith(f"error: process {holder.pid} on ")
    assert " has been working in this folder since " in told[-3] and "Traceback" not in done.stderr
    assert holder.poll() is None and owner(tmp_path / "run")["pid"] == holder.pid


def test_a_lock_file_without_an_owner_holds_nobody_off(tmp_path: Path) -> None:
    """Left by a process that is dead, or whose number another process has now (here: this one, and the first)."""
    for number in (os.getpid(), 1, 2**22 + 1):
        (tmp_path / ".lock").write_text(json.dumps({"pid": number, "host": "here", "since": "long ago"}))
        assert owner(tmp_path) is None
        with lock(tmp_path):
            assert owner(tmp_path)["pid"] == os.getpid()
