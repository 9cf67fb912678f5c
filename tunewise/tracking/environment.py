"""Where a run took place: what to know in order to repeat it or to compare its seconds with others."""

from __future__ import annotations

import os
import platform
import sys
from collections.abc import Mapping, Sequence
from importlib import metadata
from pathlib import Path
from typing import Any

from tunewise.engine.cores import cpu_name

PACKAGES = (
    "tunewise",
    "torch",
    "transformers",
    "peft",
    "bitsandbytes",
    "tokenizers",
    "safetensors",
    "datasets",
    "pyarrow",
    "numpy",
    "scikit-learn",
    "pydantic",
    "tensorboard",
)


def environment(more: Sequence[str] = ()) -> dict[str, Any]:
    """Python, machine and versions, as plain JSON data. Imports nothing heavy: GPUs are named where torch is loaded.

    Args:
        more: names of further packages that matter.

    Keys: `python`, `platform`, `cpu`, `cores` (usable by this process), `memory_bytes` (what it may use), `gpus`,
    `packages` (name to version; None: not installed), `hash_seed` (PYTHONHASHSEED; None: random).
    """
    return {
        "python": platform.python_version(),
        "platform": platform.platform(),
        "cpu": cpu_name(),
        "cores": len(os.sched_getaffinity(0)) if hasattr(os, "sched_getaffinity") else os.cpu_count(),
        "memory_bytes": _memory_bytes(Path("/sys/fs/cgroup/memory.max")),
        "gpus": _gpus(),
        "packages": {name: _version(name) for name in (*PACKAGES, *more)},
        "hash_seed": os.environ.get("PYTHONHASHSEED"),
    }


def determinism(tuned: Mapping[str, Any], cache: bool) -> dict[str, Any]:
    """Whether the run would give the same bits again, and what that depends on, as plain JSON data.

    Args:
        tuned: what was fitted to the machine (`engine.device.Tuned` as plain data).
        cache: whether the recipe lets runs read what others kept (`train.cache`): its batches are padded otherwise.

    Keys: `same_bits` (whether the same recipe and data give the same bits again), `as_long_as` (what has to be the same
    for it), and on a GPU `kernels` (how torch was set up). Kernels that turn out not to be deterministic are among the
    record's warnings.
    """
    torch, device = sys.modules["torch"], tuned["device"]
    same = {
        "packages": "as in `packages`",
        "cache": cache,
        "threads": tuned["threads"],
        "precision": tuned["precision"],
        "attention": tuned["attention"],
        "attention_prediction": tuned["attention_prediction"],
        "channels_last": tuned["channels_last"],
    }
    if device == "cpu":
        # The instructions that torch and oneDNN take, and with them the rounding, follow from the CPU.
        same |= {"cpu": cpu_name(), "instructions": torch.backends.cpu.get_cpu_capability()}
        return {"same_bits": True, "as_long_as": same}
    same["gpus"] = _gpus()
    if device != "cuda":
        return {"same_bits": False, "as_long_as": same}
    same |= {"cuda": torch.version.cuda, "cudnn": torch.backends.cudnn.version()}
    kernels = {
        "deterministic_algorithms": torch.are_deterministic_algorithms_enabled(),
        "where_there_is_none": "warned" if torch.is_deterministic_algorithms_warn_only_enabled() else "refused",
        "cudnn_benchmark": torch.backends.cudnn.benchmark,
        "cublas_workspace": os.environ.get("CUBLAS_WORKSPACE_CONFIG"),
        "tf32": torch.backends.cuda.matmul.allow_tf32,
    }
    return {"same_bits": False, "as_long_as": same, "kernels": kernels}


def _memory_bytes(limit: Path) -> int | None:
    """The machine's memory, or the container's limit (a cgroup file) where that is lower."""
    if not hasattr(os, "sysconf"):
        return None
    machine = os.sysconf("SC_PAGE_SIZE") * os.sysconf("SC_PHYS_PAGES")
    text = limit.read_text().strip() if limit.is_file() else "max"
    return min(machine, int(text)) if text.isdigit() else machine


def _gpus() -> list[str]:
    torch = sys.modules.get("torch")
    if torch is None or not torch.cuda.is_available():
        return []
    return [torch.cuda.get_device_name(number) for number in range(torch.cuda.device_count())]


def _version(package: str) -> str | None:
    try:
        return metadata.version(package)
    except metadata.PackageNotFoundError:
        return None
