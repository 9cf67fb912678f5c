"""Imported once by the fork server of a comparison: every run's process starts with the heavy imports done.

It imports, and only imports: torch may not have run an operation before a fork.
"""

from __future__ import annotations

import importlib
import os
import time
import warnings
from contextlib import suppress

from tunewise.comparison import PRELOAD_VARIABLE
from tunewise.errors import TunewiseWarning
from tunewise.models.hub_kernels import import_bitsandbytes

SECONDS: dict[str, float] = {}
"""What each import took, in the order of the variable; a later one profits from an earlier one. One that fails is left
to the run that needs it, whose record then says so."""

warnings.simplefilter("ignore", TunewiseWarning)  # the process that began the comparison has said it

for _name in filter(None, os.environ.get(PRELOAD_VARIABLE, "").split(",")):
    _start = time.perf_counter()
    with suppress(ImportError):
        if _name == "peft":
            import_bitsandbytes()  # peft does, less carefully
        importlib.import_module(_name)
    SECONDS[_name] = time.perf_counter() - _start
