"""What this machine has for runs: cores, memory, a GPU. Looked up without importing torch."""

from __future__ import annotations

import os
import platform
from pathlib import Path

BYTES_OF_A_PROCESS = 1_500_000_000
# Weights, gradients, two moments, the best weights, and a copy while saving.
COPIES_OF_WEIGHTS = 6


def physical_cores() -> int:
    """CPU cores that this process may use, hyper-threads not counted."""
    import psutil

    usable = len(os.sched_getaffinity(0)) if hasattr(os, "sched_getaffinity") else os.cpu_count() or 1
    return max(1, min(usable, psutil.cpu_count(logical=False) or usable))


def gpu_is_here() -> bool:
    """Whether torch would find a GPU: an NVIDIA device file, or an Apple chip."""
    return Path("/dev/nvidia0").exists() or (platform.system() == "Darwin" and platform.machine() == "arm64")


def runs_that_fit(model: Path) -> int:
    """How many runs of full fine-tuning of this model fit into the free memory."""
    import psutil

    weights = sum(file.stat().st_size for file in model.glob("*.safetensors"))
    return int(psutil.virtual_memory().available // (BYTES_OF_A_PROCESS + COPIES_OF_WEIGHTS * weights))
