"""What runs keep for each other in the user's cache, and what that takes and spares."""

from __future__ import annotations

import math
import time
from collections.abc import Callable, Iterator, Mapping
from contextlib import AbstractContextManager, nullcontext
from dataclasses import dataclass, fields, replace
from pathlib import Path
from typing import Any

import numpy as np
import torch

from tunewise.commit import Cache, read_manifest
from tunewise.commit.arrays import array_of, read_array, write_array_of
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


class Parts:
    """An array in the making, of which no more than a part needs to be in memory.

    Args:
        length: of the array.
        arrays: one behind the other; the first is asked for at once.
        flops: what making them took, asked for when all are made.

    Attributes:
        seconds: that making them took so far; of what came before the others, whoever makes it says.
    """

    def __init__(self, length: int, arrays: Iterator[np.ndarray], flops: Callable[[], float]):
        self._first, self._others, self._flops = next(arrays), arrays, flops
        self._begun_others = False
        self.shape, self.kind = (length, *self._first.shape[1:]), self._first.dtype
        self.seconds = 0.0

    @classmethod
    def whole(cls, array: np.ndarray, flops: float) -> Parts:
        """An array that is made."""
        return cls(len(array), iter([array]), lambda: flops)

    @property
    def bytes(self) -> int:
        return math.prod(self.shape) * self.kind.itemsize

    @property
    def is_whole(self) -> bool:
        return len(self._first) == self.shape[0]

    @property
    def spent(self) -> bool:
        """Whether some were given that cannot be given again."""
        return self._begun_others and not self.is_whole

    def __iter__(self) -> Iterator[np.ndarray]:
        yield self._first
        while True:
            self._begun_others, begun = True, time.perf_counter()
            part = next(self._others, None)
            self.seconds += time.perf_counter() - begun
            if part is None:
                return
            yield part

    def array(self) -> np.ndarray:
        """All of them as one: to be read only, where that is large."""
        return self._first if self.is_whole else array_of(self.shape, self.kind, self)

    def told(self) -> dict[str, float]:
        """What making all of them took."""
        return {"flops": self._flops(), "seconds": self.seconds, "forward_seconds": self.seconds}


def kept_array(
    context: Context, key: str, about: Mapping[str, Any], make: Callable[[], Parts]
) -> tuple[np.ndarray, Spent]:
    """An array that is read where it was kept, else made and kept; to be read only, where it is large.

    Args:
        about: what to say of it to whoever looks at the entries.
    """
    begun, made, entry = time.perf_counter(), [], dict(about)

    def begin() -> Parts:
        start = time.perf_counter()
        parts = make()
        parts.seconds = time.perf_counter() - start
        return parts

    def hold(parts: Parts) -> None:
        parts = begin() if parts.spent else parts
        made.append(parts.array())
        entry.update(parts.told())

    def keep() -> Path | None:
        parts = begin()

        def write(folder: Path) -> None:
            write_array_of(folder / _ARRAY, parts.shape, parts.kind, parts)
            entry.update(parts.told())

        folder = context.store.put(key, write, entry, size=parts.bytes)
        if folder is None or parts.is_whole:
            hold(parts)
        return folder

    folder, here = context.find_or_make(key, keep)
    if not made:
        try:
            array, told = read_array(folder / _ARRAY), read_manifest(folder)["about"]
            return array, Spent.on(told, time.perf_counter() - begun, made=here)
        except (OSError, StoreError):  # it had to make room in the moment since
            hold(begin())
    return made[0], Spent.on(entry, time.perf_counter() - begun, made=True)
