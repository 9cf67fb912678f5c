from __future__ import annotations

import json
import os
import platform
import subprocess
import sys
from pathlib import Path

import psutil
import torch

from tunewise.tracking.environment import _memory_bytes, environment


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
