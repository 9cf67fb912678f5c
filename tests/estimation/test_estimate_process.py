"""What runs in the processes of an estimate, tried in this one."""

from __future__ import annotations

import os
import signal

import pytest
import torch

from tunewise.estimation import process
from tunewise.estimation.process import MEMORY_RAN_OUT, died, is_out_of_memory


def test_memory_that_torch_and_numpy_refuse_is_known() -> None:
    import numpy as np

    for ask in (lambda: torch.empty(2**50), lambda: np.empty(2**50), lambda: bytearray(2**60)):
        with pytest.raises((RuntimeError, MemoryError)) as found:
            ask()
        assert is_out_of_memory(found.value)
    assert is_out_of_memory(torch.OutOfMemoryError("CUDA out of memory. Tried to allocate 2.00 GiB"))


def test_other_errors_are_not_taken_for_it() -> None:
    with pytest.raises(RuntimeError) as found:
        torch.ones(2, 3) @ torch.ones(2, 3)
    assert not is_out_of_memory(found.value)
    assert not is_out_of_memory(ValueError("out of memory"))


def test_how_a_process_ended_says_why() -> None:
    for code in (MEMORY_RAN_OUT, -signal.SIGKILL):
        refused = died(code)
        assert not refused.fits and "memory" in refused.problem.what and "batch_size" in refused.problem.fix
    assert died(1).fits and "exit code 1" in died(1).problem.what


def test_the_guard_ends_the_process_when_hardly_any_memory_is_left(monkeypatch: pytest.MonkeyPatch) -> None:
    left, ended = [900, 500, 99], []
    monkeypatch.setattr(process, "free_memory", lambda: left.pop(0))
    monkeypatch.setattr(process, "SECONDS_BETWEEN_LOOKS", 0)
    monkeypatch.setattr(os, "_exit", ended.append)
    process._guard(100)
    assert ended == [MEMORY_RAN_OUT] and not left
