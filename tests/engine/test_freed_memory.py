"""Freed memory that a process keeps, told by how often the system has to give it a page."""

from __future__ import annotations

import os
import platform
import subprocess
import sys

import pytest

from tunewise.engine.freed_memory import freed_memory_kept

PROGRAM = """
import resource, sys
import numpy as np
from tunewise.engine.freed_memory import freed_memory_kept

def pages():
    before = resource.getrusage(resource.RUSAGE_SELF).ru_minflt
    for _ in range(5):
        np.ones(1 << 24, dtype=np.float32)
    return resource.getrusage(resource.RUSAGE_SELF).ru_minflt - before

plain = pages()
with freed_memory_kept() as kept:
    pages()
    inside = pages()
print(kept, plain, inside, pages())
"""


def run(**more: str) -> list[str]:
    surroundings = {name: value for name, value in os.environ.items() if not name.startswith(("MALLOC_", "GLIBC_"))}
    done = subprocess.run(
        [sys.executable, "-c", PROGRAM], env=surroundings | more, capture_output=True, text=True, check=True
    )
    return done.stdout.split()


@pytest.mark.skipif(platform.libc_ver()[0] != "glibc", reason="the C library is not glibc")
def test_memory_is_used_again() -> None:
    done, plain, inside, after = run()
    assert done == "True" and int(inside) < int(plain) / 10 and int(after) > int(plain) / 2


def test_settings_of_the_user_stay() -> None:
    assert run(MALLOC_ARENA_MAX="4")[0] == "False"


def test_another_c_library_is_left_alone(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(platform, "libc_ver", lambda: ("", ""))
    with freed_memory_kept() as kept:
        assert not kept
