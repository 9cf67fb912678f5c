from __future__ import annotations

import subprocess
import sys

import psutil

from tunewise.tracking.peak_memory import peak_memory_bytes

CHILD = """
import numpy, psutil
from tunewise.tracking.peak_memory import peak_memory_bytes
before = peak_memory_bytes("cpu")
block = numpy.ones(200_000_000, dtype=numpy.uint8)
del block
print(peak_memory_bytes("cpu") - before, psutil.Process().memory_info().rss)
"""


def test_the_peak_stays_after_the_memory_is_given_back() -> None:
    told = subprocess.run([sys.executable, "-c", CHILD], capture_output=True, text=True, check=True).stdout
    growth, rss = map(int, told.split())
    assert 190e6 < growth < 260e6
    assert rss < 190e6


def test_it_is_in_bytes() -> None:
    rss = psutil.Process().memory_info().rss
    assert 0.9 * rss < peak_memory_bytes("cpu") < 100 * rss
