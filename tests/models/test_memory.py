"""Errors that say that memory ran out, and batches of passes without gradients that get smaller."""

from __future__ import annotations

import errno

import numpy as np
import pytest
import torch

from tunewise.errors import OutOfMemoryError, TunewiseWarning
from tunewise.models.memory import PassSize, attempt, is_out_of_memory, memory_told

CPU = "[enforce fail at alloc_cpu.cpp:127] . DefaultCPUAllocator: can't allocate memory: you tried to allocate 9 bytes."
WINDOWS = "[enforce fail at alloc_cpu.cpp:115] . DefaultCPUAllocator: not enough memory: you tried to allocate 9 bytes."
MPS = "MPS backend out of memory (MPS allocated: 9.06 GB, other allocations: 384.00 KB, max allowed: 9.07 GB)."


@pytest.mark.parametrize(
    "problem",
    [
        torch.OutOfMemoryError("CUDA out of memory. Tried to allocate 20.00 MiB."),
        RuntimeError(CPU),
        RuntimeError(WINDOWS),
        RuntimeError(MPS),
        RuntimeError("CUDA error: out of memory"),
        RuntimeError("CUDA error: CUBLAS_STATUS_ALLOC_FAILED when calling `cublasCreate(handle)`"),
        RuntimeError("could not create a primitive"),
        RuntimeError("std::bad_alloc"),
        MemoryError(),
        OSError(errno.ENOMEM, "Cannot allocate memory"),
    ],
)
def test_memory_ran_out(problem: Exception) -> None:
    assert is_out_of_memory(problem)


@pytest.mark.parametrize(
    "problem",
    [
        RuntimeError("mat1 and mat2 shapes cannot be multiplied (2x3 and 4x5)"),
        RuntimeError("could not create a primitive descriptor for a matmul primitive"),
        ValueError("out of memory"),
        OSError(errno.ENOSPC, "No space left on device"),
        OutOfMemoryError("memory ran out at step 3"),
    ],
)
def test_something_else_is_wrong(problem: Exception) -> None:
    assert not is_out_of_memory(problem)

    def fail() -> None:
        raise problem

    with pytest.raises(type(problem)):
        attempt(fail)


def test_what_torch_says_becomes_an_error_of_ours() -> None:
    with (
        pytest.raises(OutOfMemoryError, match="memory ran out while loading the model") as caught,
        memory_told("loading the model"),
    ):
        raise RuntimeError(CPU + "\nException raised from alloc_cpu")
    assert caught.value.where == CPU and "tunewise estimate" in caught.value.fix
    with pytest.raises(RuntimeError, match="shapes"), memory_told("training"):
        raise RuntimeError("shapes")


def test_a_real_error_of_the_allocator() -> None:
    result, said = attempt(lambda: torch.empty(2**62 // 8, dtype=torch.float64).fill_(1.0))
    assert result is None and "allocate" in said


def tight(most: int, seen: list[int]):
    """A work on batches of at most so many padded tokens, with 10 for each row."""

    def work(rows: np.ndarray) -> int:
        seen.append(len(rows))
        if 10 * len(rows) > most:
            raise MemoryError
        return int(rows.sum())

    return work


def test_batches_are_halved_and_stay_so() -> None:
    told, seen = [], []
    size = PassSize(tell=told.append)
    batches, lengths = [np.arange(16), np.arange(16, 32), np.arange(32, 35)], np.full(35, 10)
    results = list(size.run(batches, lengths, tight(40, seen)))
    assert seen == [16, 8, 4, 4, 4, 4, 4, 4, 4, 4, 3]
    assert np.concatenate([rows for rows, _ in results]).tolist() == list(range(35))
    assert [result for _, result in results] == [int(rows.sum()) for rows, _ in results]
    assert size.most == 40 and len(told) == 2
    assert told[0] == (
        "memory ran out in a pass over 16 rows of up to 10 tokens: they are read 8 at a time, and later batches are no "
        "larger"
    )
    seen.clear()
    list(size.run(batches, lengths, tight(40, seen)))  # another pass begins with what fits
    assert seen == [4] * 8 + [3] and len(told) == 2


def test_rows_that_are_shorter_may_be_more() -> None:
    size, seen = PassSize(most=40), []
    lengths = np.array([40] * 2 + [10] * 6)
    list(size.run([np.arange(2), np.arange(2, 8)], lengths, lambda rows: seen.append(len(rows)) or True))
    assert seen == [1, 1, 4, 2]


def test_a_single_row_that_does_not_fit() -> None:
    seen: list[int] = []
    with (
        pytest.warns(TunewiseWarning, match="memory ran out in a pass over"),
        pytest.raises(OutOfMemoryError, match="a single row of 10 tokens") as caught,
    ):
        list(PassSize().run([np.arange(8)], np.full(8, 10), tight(0, seen)))
    assert seen == [8, 4, 2, 1] and "train.max_length below 10" in caught.value.fix


def test_a_work_that_gives_nothing_is_not_taken_for_a_failure() -> None:
    assert attempt(lambda: None) == (None, None)
