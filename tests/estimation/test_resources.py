from __future__ import annotations

import shutil
from pathlib import Path

import psutil
import pytest

from tunewise.estimation.resources import free_memory, free_resources


def container(folder: Path, **files: str) -> Path:
    for name, text in files.items():
        (folder / name.replace("_", ".")).write_text(text)
    return folder


def test_the_disk_is_that_of_the_nearest_folder(tmp_path: Path) -> None:
    found = free_resources(tmp_path / "not" / "there" / "yet")
    assert found.disk_bytes == pytest.approx(shutil.disk_usage(tmp_path).free, rel=0.1)
    assert 0 < found.memory_bytes <= psutil.virtual_memory().total
    assert not (tmp_path / "not").exists()


def test_a_container_may_have_less(tmp_path: Path) -> None:
    folder = container(tmp_path, memory_max="3000000\n", memory_current="1000000\n")
    assert free_memory(folder) == 2_000_000
    container(tmp_path, memory_stat="anon 500000\ninactive_file 400000\nactive_file 1\n")
    assert free_memory(folder) == 2_400_000  # files that are held count as used, and are given up
    container(tmp_path, memory_current="9000000")
    assert free_memory(folder) == 0


def test_without_a_limit_the_machine_counts(tmp_path: Path) -> None:
    total = psutil.virtual_memory().total
    for folder in (tmp_path, container(tmp_path, memory_max="max", memory_current="1000")):
        assert 0 < free_memory(folder) <= total
    container(tmp_path, memory_max=str(10 * total), memory_current="0")
    assert free_memory(tmp_path) <= total
