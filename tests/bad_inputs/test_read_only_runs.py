"""Folders that cannot be written: told before weights load, and nothing is changed in them."""

from __future__ import annotations

import builtins
import errno
import os
import shutil
import time
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import Any

import pytest
from case import Desk, rows
from cases_run_folders import listing
from typer.testing import CliRunner

from tunewise.cli.main import app

CHANGES = os.O_WRONLY | os.O_RDWR | os.O_CREAT


@contextmanager
def read_only(folder: Path) -> Iterator[None]:
    """As on a disk that was mounted read-only; rights would not stop the system's administrator."""

    def refused(path: Any) -> None:
        if isinstance(path, (str, bytes, os.PathLike)) and Path(os.fsdecode(path)).is_relative_to(folder):
            raise OSError(errno.EROFS, os.strerror(errno.EROFS), os.fsdecode(path))

    real_open, real_file = os.open, builtins.open

    def opened(path: Any, flags: int, *more: Any, **options: Any) -> int:
        if flags & CHANGES:
            refused(path)
        return real_open(path, flags, *more, **options)

    def file(path: Any, mode: str = "r", *more: Any, **options: Any) -> Any:
        if set(mode) & set("wax+"):
            refused(path)
        return real_file(path, mode, *more, **options)

    def failing(real: Callable[..., Any]) -> Callable[..., Any]:
        def call(path: Any, *more: Any, **options: Any) -> Any:
            refused(path)
            return real(path, *more, **options)

        return call

    with pytest.MonkeyPatch.context() as patch:
        patch.setattr(os, "open", opened)
        patch.setattr(builtins, "open", file)
        for name in ("mkdir", "unlink", "remove", "rename", "replace", "rmdir", "truncate"):
            patch.setattr(os, name, failing(getattr(os, name)))
        yield


@pytest.mark.parametrize("command", ["train", "train --resume", "compare"])
def test_training_in_it_is_refused_before_weights_load(
    command: str, desk: Desk, request: pytest.FixtureRequest
) -> None:
    out = desk.folder / "out"
    arguments = desk.train(rows(), method={"lora": {"rank": 2}})[1:2]
    if "--resume" in command:
        shutil.copytree(desk.finished_run(), out)
        (out / "model").rename(desk.folder / "gone")  # so that there would be something to do
    else:
        out.mkdir()
    before = listing(out)
    request.getfixturevalue("no_weights")
    begun = time.monotonic()
    with read_only(out):
        done = CliRunner().invoke(app, [*command.split(), *arguments, "--out", str(out)])
    assert time.monotonic() - begun < 5
    assert done.exit_code == 1 and isinstance(done.exception, SystemExit), done.output
    assert "the file system is read-only" in done.stderr and str(out) in done.stderr
    assert "to do: choose a folder that can be written" in done.stderr
    assert listing(out) == before


def test_predicting_with_it_works(desk: Desk) -> None:
    run = desk.finished_run()
    before = listing(run)
    desk.write("new.csv", "text\nthe good message\n")
    new, out = desk.folder / "new.csv", desk.folder / "said.csv"
    with read_only(run):
        done = CliRunner().invoke(app, ["predict", str(run), "--data", str(new), "--out", str(out)])
        inside = CliRunner().invoke(app, ["predict", str(run), "--data", str(new), "--out", str(run / "said.csv")])
    assert done.exit_code == 0 and out.is_file(), done.output
    assert inside.exit_code == 1 and "the file system is read-only" in inside.stderr, inside.output
    assert listing(run) == before
