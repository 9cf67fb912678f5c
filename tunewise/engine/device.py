"""Where and how to compute: device, number format, threads. Decided once per run, stored with it, kept on resume."""

from __future__ import annotations

from contextlib import AbstractContextManager
from dataclasses import asdict, dataclass
from pathlib import Path
from typing import Any

import torch

from tunewise.engine.cores import physical_cores
from tunewise.engine.settings import TrainConfig
from tunewise.errors import RecipeError

DTYPES = {"fp32": torch.float32, "bf16": torch.bfloat16, "fp16": torch.float16}
CPU_INFO = Path("/proc/cpuinfo")
BF16_FLAGS = {"avx512_bf16", "amx_bf16", "bf16"}


@dataclass(frozen=True)
class Tuned:
    """What was tuned to the machine."""

    device: str
    precision: str
    threads: int

    @property
    def attention(self) -> str | None:
        """The implementation of attention, None for the model's own choice. On a CPU the plain one: a training step
        without dropout took 0.78 of the time that torch's fused one takes for texts of 35 tokens, with dropout and in
        prediction both take the same."""
        return "eager" if self.device == "cpu" else None

    def as_dict(self) -> dict[str, Any]:
        return asdict(self)

    def apply(self) -> torch.device:
        """Sets the threads of this process and returns the device.

        Raises:
            RecipeError: the run was begun on a device that is not here.
        """
        _check_device(self.device, "the run was begun on it: resume it where there is one, or begin another with cpu")
        torch.set_num_threads(self.threads)
        return torch.device(self.device)

    def autocast(self) -> AbstractContextManager[Any]:
        """Forward passes inside compute in the chosen format; weights stay fp32."""
        return torch.autocast(self.device, dtype=DTYPES[self.precision], enabled=self.precision != "fp32")


def tune(config: TrainConfig, side_by_side: int = 1) -> Tuned:
    """Decides device, precision and threads; `side_by_side` runs share the cores.

    Raises:
        RecipeError: the recipe asks for a device or precision that is not here.
    """
    device = config.device if config.device != "auto" else _best_device()
    _check_device(device, "set it to auto or cpu")
    if config.precision == "fp16" and device != "cuda":
        raise RecipeError(
            f"fp16 needs a CUDA GPU; this run is on {device}",
            where="train.precision",
            fix="set it to auto, bf16 or fp32",
        )
    threads = config.threads or max(1, physical_cores() // side_by_side)
    torch.set_num_threads(threads)
    precision = config.precision if config.precision != "auto" else _faster_precision(torch.device(device))
    return Tuned(device, precision, threads)


def _check_device(device: str, fix: str) -> None:
    here = {"cuda": torch.cuda.is_available, "mps": torch.backends.mps.is_available}
    if device in here and not here[device]():
        raise RecipeError(f"there is no '{device}' device here", where="train.device", fix=fix)


def _best_device() -> str:
    if torch.cuda.is_available():
        return "cuda"
    return "mps" if torch.backends.mps.is_available() else "cpu"


def _faster_precision(device: torch.device) -> str:
    """bf16 where the hardware multiplies it natively, else fp32: told by the hardware and not by a stop-watch, so that
    the same machine always decides the same. With avx512_bf16 a training step took 0.65 of the time in fp32."""
    if device.type == "cuda":
        return "bf16" if torch.cuda.is_bf16_supported(including_emulation=False) else "fp32"
    return "bf16" if device.type == "cpu" and _cpu_flags() & BF16_FLAGS else "fp32"


def _cpu_flags() -> set[str]:
    """The feature names of the CPU, where Linux tells them."""
    if not CPU_INFO.is_file():
        return set()
    lines = CPU_INFO.read_text(encoding="utf-8", errors="replace").splitlines()
    flags = next((line for line in lines if line.startswith(("flags", "Features"))), "")
    return set(flags.partition(":")[2].split())
