"""The most memory this process has held."""

from __future__ import annotations

import sys


def peak_memory_bytes(device: str) -> int:
    """Bytes: on a CUDA GPU those of torch's allocator there, else the resident memory of the process."""
    if device == "cuda":
        import torch

        return int(torch.cuda.max_memory_allocated())
    if sys.platform == "win32":
        import psutil

        return int(psutil.Process().memory_info().peak_wset)
    import resource

    peak = resource.getrusage(resource.RUSAGE_SELF).ru_maxrss
    return int(peak if sys.platform == "darwin" else peak * 1024)
