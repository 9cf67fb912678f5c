"""The same recipe, the same bits: what torch is told for it on a GPU, and which kernels cannot do it."""

from __future__ import annotations

import os
import re
import warnings
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from typing import Any

import torch

# cuBLAS gives the same bits only with a workspace of a fixed size; it looks when it is first used.
CUBLAS_WORKSPACE = ":4096:8"
_SAID = re.compile(
    r"(?P<kernel>\S+) does not have a deterministic implementation"
    r"|(?P<attention>.+ attention) defaults to a non-deterministic algorithm",
    re.IGNORECASE,
)


def compute_deterministically(device: str) -> None:
    """Has torch take the deterministic kernels of a GPU where there are some, and warn where there are none. A CPU has
    no others: there nothing is to be set."""
    if device != "cuda":
        return
    os.environ.setdefault("CUBLAS_WORKSPACE_CONFIG", CUBLAS_WORKSPACE)
    torch.use_deterministic_algorithms(True, warn_only=True)
    torch.utils.deterministic.fill_uninitialized_memory = False  # nothing here reads memory that was not written
    torch.backends.cudnn.benchmark = False  # it would choose kernels by the stop-watch, at each start others


@contextmanager
def kernels_told(tell: Callable[[str], None]) -> Iterator[None]:
    """Inside, each kernel of which torch warns that it is not deterministic is told once."""
    told: set[str] = set()
    usual = warnings.showwarning

    def show(message: Warning | str, *where: Any, **more: Any) -> None:
        found = _SAID.search(str(message))
        if found is None:
            usual(message, *where, **more)
            return
        name = found["kernel"] or found["attention"]
        if name not in told:
            told.add(name)
            tell(f"torch computes {name} without a deterministic kernel here: the same recipe may give other last bits")

    with warnings.catch_warnings():
        for part in ("does not have a deterministic implementation", "defaults to a non-deterministic algorithm"):
            warnings.filterwarnings("always", message=f".*{part}")
        warnings.showwarning = show
        yield
