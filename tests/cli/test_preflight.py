"""What would fail late is told before weights load: exit code, exact text, nothing made."""

from __future__ import annotations

import os
import shutil
from collections import namedtuple
from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest

from tunewise import run as run_module
from tunewise.errors import TunewiseError
from tunewise.models.locate import locate

Usage = namedtuple("Usage", "total used free")


@pytest.fixture(autouse=True)
def no_weights(monkeypatch: pytest.MonkeyPatch) -> None:
    """Nobody reads weights or starts a process."""

    def fail(*_: Any, **__: Any) -> None:
        raise TunewiseError("the weights would be read now")

    monkeypatch.setattr("tunewise.run.load_net", fail)
    monkeypatch.setattr("tunewise.comparison.schedule.Pool.ask", fail)
    monkeypatch.setattr("tunewise.comparison.schedule.Pool.run", fail)


@pytest.mark.parametrize("command", [("train", "--method", "head"), ("compare",)])
def test_a_folder_that_cannot_be_written(
    command: tuple[str, ...],
    recipe: Callable[..., Path],
    tunewise: Callable[..., Any],
    tmp_path: Path,
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    out = tmp_path / "out"
    path = recipe()
    monkeypatch.setattr("tunewise.data.prepare.load_source", lambda *_: pytest.fail("the data would be read now"))
    real = os.open

    def read_only(name: Any, flags: int, *more: Any, **others: Any) -> int:
        if flags & os.O_CREAT:
            raise OSError(30, "Read-only file system", str(name))
        return real(name, flags, *more, **others)

    monkeypatch.setattr(os, "open", read_only)
    name, *options = command
    done = tunewise(name, path, "--out", out, *options)
    assert done.exit_code == 1 and not out.exists()
    assert done.stderr.startswith(f"error: cannot write into {out}: the file system is read-only\n")
    assert "  to do: choose a folder that can be written\n" in done.stderr


@pytest.mark.parametrize(
    ("command", "models", "what"),
    [
        (("train", "--method", "head"), 1, "the model handed over"),
        (("compare",), 2, "the models of 6 runs"),  # two seeds of head; features and LoRA hand over what trained
    ],
)
def test_too_little_room_for_the_models(
    command: tuple[str, ...],
    models: int,
    what: str,
    recipe: Callable[..., Path],
    tunewise: Callable[..., Any],
    tmp_path: Path,
    tiny_bert: Path,
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    needed, path, out = models * locate(str(tiny_bert), tiny_bert).weights_bytes, recipe(), tmp_path / "out"
    monkeypatch.setattr(shutil, "disk_usage", lambda _: Usage(10**12, 0, needed - 1))
    name, *options = command
    done = tunewise(name, path, "--out", out, *options)
    assert done.exit_code == 1
    assert (
        f"error: the disk has too little room for {what}: {needed:,} bytes are needed, {needed - 1:,} are free\n"
        f"  where: {out}\n"
        "  to do: free some space, choose a folder on another disk, or take a method that hands over an adapter, such "
        "as lora\n"
    ) in done.stderr
    monkeypatch.setattr(shutil, "disk_usage", lambda _: Usage(10**12, 0, needed))
    done = tunewise(name, path, "--out", tmp_path / "other", *options)
    assert "the weights would be read now" in done.stderr


def test_memory_that_runs_out_while_loading(
    recipe: Callable[..., Path], tunewise: Callable[..., Any], tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    def fail(*_: Any, **__: Any) -> None:
        raise RuntimeError("[enforce fail at alloc_cpu.cpp:127] . DefaultCPUAllocator: can't allocate memory: 9 bytes")

    monkeypatch.setattr(run_module, "load_net", fail)
    done = tunewise("train", recipe(), "--out", tmp_path / "out", "--method", "head")
    assert done.exit_code == 1 and "Traceback" not in done.stderr
    assert "error: memory ran out while loading the model\n  where: [enforce fail at alloc_cpu.cpp:127]" in done.stderr
    assert "`tunewise estimate` says what each method needs" in done.stderr


def test_a_model_is_as_large_as_its_header_says(tiny_bert: Path) -> None:
    (file,) = tiny_bert.glob("*.safetensors")
    assert 0.9 * file.stat().st_size < locate(str(tiny_bert), tiny_bert).weights_bytes <= file.stat().st_size
