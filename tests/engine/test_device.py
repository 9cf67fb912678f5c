from __future__ import annotations

import os
from pathlib import Path

import pytest
import torch

from tunewise.engine import cores, device
from tunewise.engine.cores import gpu_is_here, physical_cores, runs_that_fit
from tunewise.engine.device import Tuned, tune
from tunewise.engine.settings import TrainConfig
from tunewise.errors import RecipeError


@pytest.fixture(autouse=True)
def threads_as_before():
    before = torch.get_num_threads()
    yield
    torch.set_num_threads(before)


@pytest.fixture
def no_gpu(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(torch.cuda, "is_available", lambda: False)
    monkeypatch.setattr(torch.backends.mps, "is_available", lambda: False)


@pytest.mark.parametrize(
    ("flags", "precision"),
    [
        ("flags\t\t: fpu avx512f avx512_bf16 amx_bf16\n", "bf16"),
        ("flags : fpu avx2 avx512f\n", "fp32"),
        ("Features : fp asimd bf16\n", "bf16"),
        ("model name : x\n", "fp32"),
        (None, "fp32"),
    ],
)
def test_precision_is_told_by_the_cpu(
    flags: str | None, precision: str, no_gpu: None, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    file = tmp_path / "cpuinfo"
    if flags:
        file.write_text("processor : 0\n" + flags)
    monkeypatch.setattr(device, "CPU_INFO", file)
    assert tune(TrainConfig(threads=1)) == Tuned("cpu", precision, 1)


def test_what_the_recipe_says_goes_first(no_gpu: None) -> None:
    assert tune(TrainConfig(precision="bf16", threads=2, device="cpu")) == Tuned("cpu", "bf16", 2)
    assert torch.get_num_threads() == 2


def test_runs_side_by_side_share_the_cores(no_gpu: None, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(device, "physical_cores", lambda: 6)
    assert [tune(TrainConfig(), side_by_side=number).threads for number in (1, 2, 4, 9)] == [6, 3, 1, 1]


def test_a_device_that_is_not_here(no_gpu: None) -> None:
    for name in ("cuda", "mps"):
        with pytest.raises(RecipeError, match=f"there is no '{name}' device here"):
            tune(TrainConfig(device=name))
        with pytest.raises(RecipeError, match=f"there is no '{name}' device here") as caught:
            Tuned(name, "fp32", 1).apply()
        assert "the run was begun on it" in caught.value.fix


def test_fp16_needs_a_gpu(no_gpu: None) -> None:
    with pytest.raises(RecipeError, match="fp16 needs a CUDA GPU; this run is on cpu"):
        tune(TrainConfig(precision="fp16"))


def test_autocast() -> None:
    matrix = torch.ones(4, 4)
    with Tuned("cpu", "bf16", 1).autocast():
        assert (matrix @ matrix).dtype == torch.bfloat16
    with Tuned("cpu", "fp32", 1).autocast():
        assert (matrix @ matrix).dtype == torch.float32


def test_tuned_as_dict_makes_it_again() -> None:
    tuned = Tuned("cpu", "bf16", 3)
    assert Tuned(**tuned.as_dict()) == tuned


def test_cores_are_those_of_this_process(monkeypatch: pytest.MonkeyPatch) -> None:
    import psutil

    monkeypatch.setattr(os, "sched_getaffinity", lambda _: {0, 1, 2, 3}, raising=False)
    for logical, found in ((2, 2), (16, 4), (None, 4)):
        monkeypatch.setattr(psutil, "cpu_count", lambda logical, found=logical: found)
        assert physical_cores() == found
    assert isinstance(gpu_is_here(), bool)


def test_runs_that_fit_count_six_copies_of_the_weights(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    import psutil

    (tmp_path / "model.safetensors").write_bytes(b"x" * 1_000_000)
    (tmp_path / "other.bin").write_bytes(b"x" * 1_000_000)
    each = cores.BYTES_OF_A_PROCESS + 6 * 1_000_000
    monkeypatch.setattr(psutil, "virtual_memory", lambda: type("Memory", (), {"available": 3 * each + 1})())
    assert runs_that_fit(tmp_path) == 3
