"""The machine: what it is, how fast it multiplies matrices, and the number of threads that trains fastest on it."""

from __future__ import annotations

import json
import os
import platform
import sys
import time
from pathlib import Path
from typing import Any

SIZE, REPEATS = 4096, 6
TELLING_FLAGS = ("avx2", "avx512f", "avx512_bf16", "avx512_vnni", "amx_bf16", "amx_tile", "asimd", "bf16", "sve")


def describe() -> dict[str, Any]:
    """Model of the CPU, cores, telling flags, memory, versions; no names of hosts or folders."""
    from importlib.metadata import PackageNotFoundError, version

    import psutil

    def found(package: str) -> str | None:
        try:
            return version(package)
        except PackageNotFoundError:
            return None

    packages = ("torch", "transformers", "peft", "sentence-transformers", "scikit-learn", "tunewise")
    return {
        "cpu": _cpu_info("model name") or platform.processor() or platform.machine(),
        "cores": psutil.cpu_count(logical=False) or os.cpu_count(),
        "flags": [
            flag for flag in TELLING_FLAGS if flag in (_cpu_info("flags") or _cpu_info("Features") or "").split()
        ],
        "memory_bytes": psutil.virtual_memory().total,
        "system": f"{platform.system()} {platform.machine()}",
        "python": platform.python_version(),
        "packages": {package: found(package) for package in packages},
    }


def _cpu_info(name: str) -> str | None:
    file = Path("/proc/cpuinfo")
    if not file.is_file():
        return None
    lines = (line.partition(":") for line in file.read_text(encoding="utf-8", errors="replace").splitlines())
    return next((value.strip() for key, _, value in lines if key.strip() == name), None)


def ceilings() -> dict[str, Any]:
    """FLOP/s of the product of two 4096 x 4096 matrices, the best of several and of every number of threads."""
    import torch

    found: dict[str, Any] = {}
    for name, dtype in (("fp32", torch.float32), ("bf16", torch.bfloat16)):
        left, right = (torch.randn(SIZE, SIZE).to(dtype) for _ in range(2))
        rates = {}
        for threads in range(1, (os.cpu_count() or 1) + 1):
            torch.set_num_threads(threads)
            rates[threads] = 2.0 * SIZE**3 / min(_seconds(lambda a=left, b=right: a @ b) for _ in range(REPEATS))
        found[name] = max(rates.values())
        found[f"{name}_one_thread"] = rates[1]
    return found


def _seconds(work: Any) -> float:
    started = time.perf_counter()
    work()
    return time.perf_counter() - started


def sizes(model: str) -> dict[str, int]:
    """Parameters of a model: all, and those of its blocks, which is where matrices are multiplied."""
    from transformers import AutoModel

    numbers = {name: tensor.numel() for name, tensor in AutoModel.from_pretrained(model).named_parameters()}
    return {
        "parameters": sum(numbers.values()),
        "in_blocks": sum(n for name, n in numbers.items() if ".layer." in name),
    }


def best_threads(model: str) -> dict[str, Any]:
    """Which number of threads trains fastest: bf16 training steps of 8 rows of 24 tokens, in turns, the median."""
    import statistics

    import torch
    from transformers import AutoModelForSequenceClassification

    net = AutoModelForSequenceClassification.from_pretrained(model, num_labels=8)
    ids = torch.randint(1000, 2000, (8, 24))
    labels = torch.randint(8, (8,))

    def step() -> None:
        with torch.autocast("cpu", dtype=torch.bfloat16):
            net(input_ids=ids, labels=labels).loss.backward()
        net.zero_grad()

    taken: dict[int, list[float]] = {threads: [] for threads in range(1, (os.cpu_count() or 1) + 1)}
    for _ in range(7):
        for threads, seconds in taken.items():
            torch.set_num_threads(threads)
            step()  # the pool of threads starts anew
            seconds.append(_seconds(lambda: (step(), step(), step())))
    medians = {threads: statistics.median(seconds[1:]) for threads, seconds in taken.items()}
    return {"best": min(medians, key=medians.get), "seconds_per_step": {str(n): s / 3 for n, s in medians.items()}}


if __name__ == "__main__":
    asked = json.loads(sys.argv[1])
    if asked["what"] == "ceilings":
        print(json.dumps(ceilings()))
    else:
        print(json.dumps({"threads": best_threads(asked["model"]), "model": sizes(asked["model"])}))
