"""How much memory a process takes above what it held once everything was imported."""

from __future__ import annotations

import gc
from contextlib import suppress
from pathlib import Path

STATUS, CLEAR = Path("/proc/self/status"), Path("/proc/self/clear_refs")
RESET_PEAK = "5"  # what clear_refs takes to set the high-water mark back (proc(5))


class Memory:
    """Begins to count when made, which is after the imports and before the work."""

    def __init__(self) -> None:
        gc.collect()
        with suppress(OSError):  # then the mark is that of the imports, which is all that the process has held
            CLEAR.write_text(RESET_PEAK)
        self.before = _read("VmRSS")

    def above(self) -> int | None:
        """Bytes of the high-water mark above the beginning; None where the system does not tell."""
        peak = _read("VmHWM")
        return None if peak is None or self.before is None else peak - self.before


def _read(name: str) -> int | None:
    if not STATUS.is_file():
        return None
    lines = (line.split() for line in STATUS.read_text(encoding="ascii", errors="replace").splitlines())
    return next((int(words[1]) * 1024 for words in lines if words[:1] == [f"{name}:"]), None)
