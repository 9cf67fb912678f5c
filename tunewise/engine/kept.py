"""What runs keep for each other in the user's cache, and what that takes and spares."""

from __future__ import annotations

import time
from collections.abc import Callable, Mapping
from contextlib import AbstractContextManager, nullcontext
from dataclasses import dataclass, fields, replace
from pathlib import Path
from typing import Any

import numpy as np
import torch

from tunewise.commit import Cache, read_manifest
from tunewise.commit.arrays import write_array
from tunewise.errors import StoreError

_ARRAY = "array.npy"


@dataclass(frozen=True)
class Spent:
    """What reading through the cache took: `seconds` and `flops` here, proof and waiting included; `elsewhere_*` what
    the run alone would have taken besides, since another one has made the entry; `forward_seconds` the forward passes
    that made it, whoever ran them."""

    seconds: float = 0.0
    flops: float = 0.0
    elsewhere_seconds: float = 0.0
    elsewhere_flops: float = 0.0
    forward_seconds: float = 0.0

    def __add__(self, other: Spent) -> Spent:
        return Spent(*(getattr(self, item.name) + getattr(other, item.name) for item in fields(Spent)))

    def __sub__(self, other: Spent) -> Spent:
        return Spent(*(getattr(self, item.name) - getattr(other, item.name) for item in fields(Spent)))

    @classmethod
    def on(cls, about: Mapping[str, Any], seconds: float, made: bool) -> Spent:
        """On an entry whose maker says `flops`, `seconds` and `forward_seconds` of it; `made`: that was here."""
        if made:
            return cls(seconds, about["flops"], forward_seconds=about["forward_seconds"])
        # What it took here (waiting, checking the file) a run alone would not have spent.
        return cls(seconds, 0.0, about["seconds"] - seconds, about["flops"], about["forward_seconds"])


@dataclass(frozen=True)
class Context:
    """How a run reads through the cache. `precision` names the number format that `autocast` sets; `data` names the
    data for whoever looks at the entries; `stop` is called now and then, and may raise."""

    store: Cache
    autocast: Callable[[], AbstractContextManager[Any]]
    precision: str
    device: torch.device
    data: str
    stop: Callable[[], None] = lambda: None
    warn: Callable[[str], None] = lambda message: None

    @property
    def exact(self) -> Context:
        """The same in fp32."""
        return replace(self, autocast=nullcontext, precision="fp32")

    def find_or_make(self, key: str, make: Callable[[], Path | None]) -> tuple[Path | None, bool]:
        """The folder of an entry, and whether it was made now: by one process, where several want it."""
        if folder := self.store.get(key):
            return folder, False
        with self.store.filling(key, self.stop):
            if folder := self.store.get(key):
                return folder, False
            return make(), True


def kept_array(
    context: Context, key: str, about: Mapping[str, Any], make: Callable[[], tuple[np.ndarray, float]]
) -> tuple[np.ndarray, Spent]:
    """An array that is read where it was kept, else made and kept.

    Args:
        about: what to say of it to whoever looks at the entries.
        make: gives the array, and the FLOPs it took.
    """
    begun, made, entry = time.perf_counter(), [], dict(about)

    def keep() -> Path | None:
        start = time.perf_counter()
        array, flops = make()
        made.append(array)
        seconds = time.perf_counter() - start
        entry.update(flops=flops, seconds=seconds, forward_seconds=seconds)
        return context.store.put(key, lambda folder: write_array(folder / _ARRAY, array), entry, size=array.nbytes)

    folder, _ = context.find_or_make(key, keep)
    if not made:
        try:
            array = np.load(folder / _ARRAY, allow_pickle=False)
            return array, Spent.on(read_manifest(folder)["about"], time.perf_counter() - begun, made=False)
        except (OSError, StoreError):  # it had to make room in the moment since
            keep()
    return made[0], Spent.on(entry, time.perf_counter() - begun, made=True)
