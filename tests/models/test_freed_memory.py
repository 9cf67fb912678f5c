"""Freed memory that a process keeps, told by how often the system has to give it a page."""

from __future__ import annotations

import os
import platform
import subprocess
import sys

import pytest

from tunewise.models.freed_memory import freed_memory_kept, give_freed_memory_back

PROGRAM = """
import resource, sys
import numpy as np
from tunewise.models.freed_memory import freed_memory_kept

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


BETWEEN = """
import numpy as np
from tunewise.models.freed_memory import freed_memory_kept, give_freed_memory_back

def held():
    return int(open("/proc/self/statm").read().split()[1]) * 4096 >> 20

with freed_memory_kept():
    blocks = [np.ones(1 << 16) for _ in range(200)]  # 100 MB
    some = blocks[::10]
    del blocks
    before = held()
    give_freed_memory_back()
    print(before - held(), sum(block.sum() for block in some) == 20 << 16)
"""


def run(program: str = PROGRAM, **more: str) -> list[str]:
    surroundings = {name: value for name, value in os.environ.items() if not name.startswith(("MALLOC_", "GLIBC_"))}
    done = subprocess.run(
        [sys.executable, "-c", program], env=surroundings | more, capture_output=True, text=True, check=True
    )
    return done.stdout.split()


@pytest.mark.skipif(platform.libc_ver()[0] != "glibc", reason="the C library is not glibc")
def test_memory_is_used_again() -> None:
    done, plain, inside, after = run()
    assert done == "True" and int(inside) < int(plain) / 10 and int(after) > int(plain) / 2


@pytest.mark.skipif(not os.path.exists("/proc/self/statm") or platform.libc_ver()[0] != "glibc", reason="not Linux")
def test_what_lies_between_blocks_in_use_is_given_back() -> None:
    megabytes, unchanged = run(BETWEEN)
    assert int(megabytes) > 80 and unchanged == "True"


def test_settings_of_the_user_stay() -> None:
    assert run(MALLOC_ARENA_MAX="4")[0] == "False"


def test_another_c_library_is_left_alone(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(platform, "libc_ver", lambda: ("", ""))
    monkeypatch.setattr("ctypes.CDLL", None)  # is not called
    give_freed_memory_back()
    with freed_memory_kept() as kept:
        assert not kept
