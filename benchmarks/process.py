"""Every measurement is a process of its own, started from the same surroundings, and answers with a line of JSON."""

from __future__ import annotations

import json
import os
import subprocess
import sys
import time
from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Any

ROOT = Path(__file__).parent.parent
# Threads are left to each side: both may use every core.
LEFT_OUT = ("OMP_NUM_THREADS", "MKL_NUM_THREADS", "TOKENIZERS_PARALLELISM", "PYTHONSTARTUP")


class MeasuringError(Exception):
    """A process that was to measure something failed; says its last lines."""


def run_process(command: Sequence[str], more: Mapping[str, str] | None = None) -> tuple[str, float]:
    """Runs Python with these arguments to the end; returns what it printed, and the seconds from start to end.

    Raises:
        MeasuringError: it failed.
    """
    surroundings = {name: value for name, value in os.environ.items() if name not in LEFT_OUT}
    surroundings |= {"HF_HUB_OFFLINE": "1", "PYTHONPATH": str(ROOT), **(more or {})}
    started = time.perf_counter()
    done = subprocess.run(
        [sys.executable, *command], env=surroundings, cwd=ROOT, capture_output=True, text=True, check=False
    )
    seconds = time.perf_counter() - started
    if done.returncode:
        lines = (done.stderr or done.stdout).strip().splitlines()
        raise MeasuringError(f"{' '.join(command)[:200]}: exit code {done.returncode}\n" + "\n".join(lines[-12:]))
    return done.stdout, seconds


def measure_in_process(
    module: str, argument: Mapping[str, Any] | str, more: Mapping[str, str] | None = None
) -> dict[str, Any]:
    """Runs `python -m module argument` and returns the JSON of its last line, with the seconds of the whole command.

    Raises:
        MeasuringError: it failed, or answered something else.
    """
    text = argument if isinstance(argument, str) else json.dumps(argument)
    printed, seconds = run_process(["-m", module, text], more)
    try:
        found = json.loads(printed.strip().splitlines()[-1])
    except (ValueError, IndexError) as problem:
        raise MeasuringError(f"{module} answered no JSON: {printed[-300:]!r}") from problem
    return {**found, "command_seconds": seconds}
