from __future__ import annotations

import json
import os
import platform
import subprocess
import sys
from pathlib import Path

import psutil
import pytest
import torch

from tunewise.tracking.environment import _memory_bytes, determinism, environment


def test_says_where_it_runs() -> None:
    found = environment()
    assert found["python"] == platform.python_version()
    assert found["packages"]["torch"] == torch.__version__
    assert 1 <= found["cores"] <= psutil.cpu_count()
    assert 0 < found["memory_bytes"] <= psutil.virtual_memory().total
    assert found["cpu"] and json.loads(json.dumps(found)) == found


def test_a_container_with_less_memory(tmp_path: Path) -> None:
    (tmp_path / "memory.max").write_text("1000000\n")
    assert _memory_bytes(tmp_path / "memory.max") == 1_000_000
    (tmp_path / "memory.max").write_text("max\n")
    assert _memory_bytes(tmp_path / "memory.max") == _memory_bytes(tmp_path / "absent") > 1_000_000


def test_loads_nothing_heavy_and_sees_the_hash_seed() -> None:
    code = """
import sys
from tunewise.tracking import environment, record, store, progress, jsonl_log, tensorboard
print(environment.environment()["hash_seed"], environment.environment()["gpus"])
print([name for name in ("torch", "numpy", "rich", "transformers", "tensorboard", "pydantic") if name in sys.modules])
"""
    env = {**os.environ, "PYTHONHASHSEED": "7"}
    run = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True, check=True, env=env)
    assert run.stdout.splitlines() == ["7 []", "[]"]


TUNED = {
    "device": "cpu",
    "precision": "bf16",
    "threads": 3,
    "attention": "sdpa",
    "attention_prediction": "eager",
    "channels_last": False,
}


def test_what_the_same_bits_depend_on() -> None:
    found = determinism(TUNED, cache=True)
    assert found["same_bits"] is True and json.loads(json.dumps(found)) == found
    kept = found["as_long_as"]
    assert (kept["threads"], kept["precision"], kept["attention"]) == (3, "bf16", "sdpa")
    assert kept["cache"] is True and determinism(TUNED, cache=False)["as_long_as"]["cache"] is False
    assert kept["cpu"] == environment()["cpu"] and kept["instructions"] == torch.backends.cpu.get_cpu_capability()


def test_a_gpu_promises_no_same_bits_and_says_how_it_was_set_up(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(torch, "are_deterministic_algorithms_enabled", lambda: True)
    monkeypatch.setattr(torch, "is_deterministic_algorithms_warn_only_enabled", lambda: True)
    monkeypatch.setattr(torch.backends.cudnn, "version", lambda: 91002)
    monkeypatch.setenv("CUBLAS_WORKSPACE_CONFIG", ":4096:8")
    found = determinism({**TUNED, "device": "cuda"}, cache=True)
    assert found["same_bits"] is False and json.loads(json.dumps(found)) == found
    assert found["as_long_as"]["cudnn"] == 91002 and found["as_long_as"]["precision"] == "bf16"
    assert found["kernels"] == {
        "deterministic_algorithms": True,
        "where_there_is_none": "warned",
        "cudnn_benchmark": False,
        "cublas_workspace": ":4096:8",
        "tf32": torch.backends.cuda.matmul.allow_tf32,
    }
