"""Running out of memory: told apart from other errors; passes without gradients go on with smaller batches."""

from __future__ import annotations

import errno
import gc
import warnings
from collections.abc import Callable, Iterator, Sequence
from contextlib import contextmanager
from dataclasses import dataclass
from functools import partial
from typing import TypeVar

import numpy as np
import torch

from tunewise.errors import OutOfMemoryError, TunewiseWarning

T = TypeVar("T")

# Where even a row does not fit, the error says what torch said too, as some of this could have another cause.
# Beside torch.OutOfMemoryError and Python's MemoryError: what torch's allocators and libraries say in a RuntimeError.
_SAID = (
    "can't allocate memory",  # DefaultCPUAllocator
    "not enough memory",  # the same on Windows
    "cannot allocate memory",  # the system's word, where a file is mapped
    "out of memory",  # CUDA, MPS
    "bad_alloc",  # the C++ library, where torch passes it on
    "cublas_status_alloc_failed",
    "cudnn_status_alloc_failed",
    "could not create a primitive",  # oneDNN, which had no memory for compiled code
)
_OF_ANOTHER_KIND = "could not create a primitive descriptor"  # oneDNN, which has no such product
WHAT_WOULD_FIT = (
    "take a method that needs less memory (lora, last_k, head, features), a smaller model, or a machine with more "
    "memory; `tunewise estimate` says what each method needs"
)


def is_out_of_memory(problem: BaseException) -> bool:
    """Whether an error says that memory, of the machine or of the GPU, ran out."""
    if isinstance(problem, (MemoryError, torch.OutOfMemoryError)):
        return True
    if isinstance(problem, OSError):
        return problem.errno == errno.ENOMEM
    said = str(problem).lower()
    return isinstance(problem, RuntimeError) and _OF_ANOTHER_KIND not in said and any(words in said for words in _SAID)


def attempt(work: Callable[[], T]) -> tuple[T | None, str | None]:
    """The result of a work, or, where memory ran out, None and the error's first line. The error itself is dropped: it
    would keep alive what filled the memory."""
    try:
        return work(), None
    except Exception as problem:
        if not is_out_of_memory(problem):
            raise
        return None, _first_line(problem)


def free_memory() -> None:
    """Gives back what nothing refers to any more; call it outside of the `except` that holds what failed."""
    gc.collect()
    if torch.cuda.is_available() and torch.cuda.is_initialized():
        torch.cuda.empty_cache()
    if torch.backends.mps.is_available():
        torch.mps.empty_cache()


@contextmanager
def memory_told(doing: str) -> Iterator[None]:
    """Inside, an error that memory ran out becomes ours, which says in what.

    Raises:
        OutOfMemoryError
    """
    try:
        yield
    except Exception as problem:
        if not is_out_of_memory(problem):
            raise
        raise OutOfMemoryError(
            f"memory ran out while {doing}", where=_first_line(problem), fix=WHAT_WOULD_FIT
        ) from None


def _first_line(problem: Exception) -> str:
    return (str(problem).strip() or type(problem).__name__).splitlines()[0][:200]


def _warn(message: str) -> None:
    warnings.warn(message, TunewiseWarning, stacklevel=2)


@dataclass
class PassSize:
    """How large the batches of passes without gradients may be.

    Attributes:
        most: padded tokens of a batch; None as long as all of them fit. Once one did not, it stays halved.
        tell: is told of each halving.
    """

    most: int | None = None
    tell: Callable[[str], None] = _warn

    def run(
        self, batches: Sequence[np.ndarray], lengths: np.ndarray, work: Callable[[np.ndarray], T]
    ) -> Iterator[tuple[np.ndarray, T]]:
        """Calls `work` with the rows of each batch, in parts where they are too many, and yields (rows, result).

        Raises:
            OutOfMemoryError: a single row does not fit.
        """
        waiting = list(batches)[::-1]
        while waiting:
            rows = waiting.pop()
            most = self._most_rows(rows, lengths)
            if len(rows) > most:
                waiting += [rows[start : start + most] for start in range(0, len(rows), most)][::-1]
                continue
            result, problem = attempt(partial(work, rows))
            if problem is not None:
                free_memory()
                self._halve(rows, lengths, problem)
                waiting.append(rows)
                continue
            yield rows, result
            del result

    def _most_rows(self, rows: np.ndarray, lengths: np.ndarray) -> int:
        return len(rows) if self.most is None else max(1, self.most // int(lengths[rows].max()))

    def _halve(self, rows: np.ndarray, lengths: np.ndarray, problem: str) -> None:
        width = int(lengths[rows].max())
        if len(rows) == 1:
            raise OutOfMemoryError(
                f"memory ran out in a pass over a single row of {width:,} tokens",
                where=problem,
                fix=f"set train.max_length below {width} (with chunks: train.max_chunks lower), or {WHAT_WOULD_FIT}",
            )
        self.most = (len(rows) // 2) * width
        self.tell(
            f"memory ran out in a pass over {len(rows)} rows of up to {width} tokens: they are read "
            f"{len(rows) // 2} at a time, and later batches are no larger"
        )
