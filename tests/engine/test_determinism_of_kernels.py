"""What torch is told on a GPU, and that a kernel that cannot be deterministic is named: simulated, without a GPU."""

from __future__ import annotations

import os
import warnings
from collections.abc import Callable, Iterator
from pathlib import Path

import pytest
import torch

from tunewise.engine.determinism import compute_deterministically, kernels_told
from tunewise.engine.device import Tuned
from tunewise.models.locate import locate
from tunewise.recipe import recipe_from
from tunewise.tracking.environment import determinism
from tunewise.tracking.record import RunRecord
from tunewise.tracking.run_record import begin_record
from tunewise.types import DataBundle

# As torch 2.10 words them (aten/src/ATen/Context.cpp and the attention kernels).
CUMSUM = (
    "cumsum_cuda_kernel does not have a deterministic implementation, but you set "
    "'torch.use_deterministic_algorithms(True, warn_only=True)'. You can file an issue at ..."
)
ATTENTION = (
    "Memory Efficient attention defaults to a non-deterministic algorithm. To explicitly enable determinism call "
    "torch.use_deterministic_algorithms(True, warn_only=False)."
)


@pytest.fixture
def torch_as_it_was(monkeypatch: pytest.MonkeyPatch) -> Iterator[None]:
    monkeypatch.delenv("CUBLAS_WORKSPACE_CONFIG", raising=False)
    benchmark = torch.backends.cudnn.benchmark
    yield
    torch.use_deterministic_algorithms(False)
    torch.utils.deterministic.fill_uninitialized_memory = True
    torch.backends.cudnn.benchmark = benchmark
    os.environ.pop("CUBLAS_WORKSPACE_CONFIG", None)


def test_a_cpu_needs_nothing(torch_as_it_was: None) -> None:
    compute_deterministically("cpu")
    assert not torch.are_deterministic_algorithms_enabled() and "CUBLAS_WORKSPACE_CONFIG" not in os.environ


def test_a_gpu_takes_deterministic_kernels(torch_as_it_was: None) -> None:
    torch.backends.cudnn.benchmark = True
    compute_deterministically("cuda")
    assert torch.are_deterministic_algorithms_enabled() and torch.is_deterministic_algorithms_warn_only_enabled()
    assert not torch.backends.cudnn.benchmark and os.environ["CUBLAS_WORKSPACE_CONFIG"] == ":4096:8"


def test_each_kernel_is_told_once_and_other_warnings_pass() -> None:
    told: list[str] = []
    with pytest.warns(UserWarning, match="something else") as others, kernels_told(told.append):
        for message in (CUMSUM, ATTENTION, CUMSUM, "something else"):
            warnings.warn(message, UserWarning, stacklevel=1)
    assert told == [
        f"torch computes {name} without a deterministic kernel here: the same recipe may give other last bits"
        for name in ("cumsum_cuda_kernel", "Memory Efficient attention")
    ]
    assert len(others) == 1


def test_the_record_says_what_the_same_bits_depend_on(tiny_bert: Path, toy_data: Callable[..., DataBundle]) -> None:
    recipe = recipe_from({"model": str(tiny_bert), "method": "head", "data": {"train": "a.csv", "label": "label"}})
    tuned = Tuned("cpu", "fp32", 1, "eager", "sdpa").as_dict()
    record = begin_record(recipe, toy_data(), locate(str(tiny_bert), Path()), tuned, None)
    assert record.environment["determinism"] == determinism(tuned, recipe.train.cache)
    assert RunRecord.from_json(record.to_json()).environment["determinism"]["same_bits"] is True
