"""What there is room for: memory and disk that are free now."""

from __future__ import annotations

import shutil
from dataclasses import dataclass
from pathlib import Path

CONTAINER = Path("/sys/fs/cgroup")


@dataclass(frozen=True)
class Resources:
    """`memory_bytes` and `disk_bytes` are what new processes can have, not what is built in."""

    memory_bytes: int
    disk_bytes: int


def free_resources(folder: Path) -> Resources:
    """This machine as it is now; the disk is that of the folder, or of the first above it that there is."""
    there = next(place for place in (folder, *folder.parents) if place.is_dir())
    return Resources(free_memory(), shutil.disk_usage(there).free)


def free_memory(container: Path = CONTAINER) -> int:
    """Bytes that new processes can have: of the machine, or of the container (a cgroup's folder) where it has less."""
    import psutil

    of_machine = psutil.virtual_memory().available
    limit, used = (_number(container / name) for name in ("memory.max", "memory.current"))
    if limit is None or used is None:
        return of_machine
    return max(0, min(of_machine, limit - used + _files_held(container / "memory.stat")))


def _number(file: Path) -> int | None:
    text = file.read_text(encoding="ascii").strip() if file.is_file() else ""
    return int(text) if text.isdigit() else None


def _files_held(file: Path) -> int:
    """Bytes of files that count as used, and are given up when memory is asked for."""
    lines = file.read_text(encoding="ascii").splitlines() if file.is_file() else []
    return next((int(line.split()[1]) for line in lines if line.startswith("inactive_file ")), 0)
