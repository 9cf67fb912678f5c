"""What this machine has for runs: CPU, cores, memory, a GPU. Looked up without importing torch."""

from __future__ import annotations

import os
import platform
from pathlib import Path

CPU_INFO = Path("/proc/cpuinfo")
BYTES_OF_A_PROCESS = 1_500_000_000
# Weights, gradients, two moments, the best weights, and a copy while saving.
COPIES_OF_WEIGHTS = 6


def physical_cores() -> int:
    """CPU cores that this process may use, hyper-threads not counted."""
    import psutil

    usable = len(os.sched_getaffinity(0)) if hasattr(os, "sched_getaffinity") else os.cpu_count() or 1
    return max(1, min(usable, psutil.cpu_count(logical=False) or usable))


def cpu_name(cpuinfo: Path = CPU_INFO) -> str:
    """The model of the CPU, as the system names it."""
    return _told(cpuinfo, "model name") or platform.processor() or platform.machine()


def cpu_flags(cpuinfo: Path = CPU_INFO) -> frozenset[str]:
    """The feature names of the CPU, where Linux tells them."""
    return frozenset((_told(cpuinfo, "flags") or _told(cpuinfo, "Features")).split())


def _told(cpuinfo: Path, wanted: str) -> str:
    if cpuinfo.is_file():
        for line in cpuinfo.read_text(encoding="utf-8", errors="replace").splitlines():
            key, _, value = line.partition(":")
            if key.strip() == wanted:
                return value.strip()
    return ""


def gpu_is_here() -> bool:
    """Whether torch would find a GPU: an NVIDIA device file, or an Apple chip."""
    return Path("/dev/nvidia0").exists() or (platform.system() == "Darwin" and platform.machine() == "arm64")


def runs_that_fit(model: Path) -> int:
    """How many runs of full fine-tuning of this model fit into the free memory."""
    import psutil

    weights = sum(file.stat().st_size for file in model.glob("*.safetensors"))
    return int(psutil.virtual_memory().available // (BYTES_OF_A_PROCESS + COPIES_OF_WEIGHTS * weights))
