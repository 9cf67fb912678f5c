"""A disk that fills up while a run trains: told with path and bytes, and after space is freed the run is whole."""

from __future__ import annotations

import os
import shutil
import subprocess
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any

import pytest
from typer.testing import CliRunner

from tunewise.cli.main import app
from tunewise.commit import Series
from tunewise.engine.events import Observer
from tunewise.recipe import Recipe, write_recipe
from tunewise.run import run
from tunewise.tracking.run_folder import CHECKPOINTS
from tunewise.verification.evidence import differences, evidence_of, leftovers_in

DISK = 12_000_000
LEFT = 50_000


@pytest.fixture
def small_disk(tmp_path: Path) -> Iterator[Path]:
    """A disk of 12 MB in memory."""
    place = tmp_path / "disk"
    place.mkdir()
    mount = shutil.which("mount")
    made = mount and subprocess.run([mount, "-t", "tmpfs", "-o", f"size={DISK}", "tmpfs", place], capture_output=True)
    if not made or made.returncode:
        pytest.skip("no disk may be mounted here; tests/commit limits the size of files instead")
    yield place
    subprocess.run(["umount", "--lazy", place], check=True)


class Fill(Observer):
    """After a step, fills the disk but for some bytes."""

    def __init__(self, filler: Path, step: int):
        self.filler, self.step = filler, step

    def on_step(self, event: Any) -> None:
        if event.step == self.step:
            free = os.statvfs(self.filler.parent)
            self.filler.write_bytes(b"\0" * (free.f_bavail * free.f_frsize - LEFT))


def test_a_full_disk(
    recipe: Callable[..., Recipe], small_disk: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    chosen = recipe("full", save_steps=3)
    run(chosen, tmp_path / "whole", folder=tmp_path)
    (tmp_path / "recipe.yaml").write_text(write_recipe(chosen))
    out, filler = small_disk / "run", small_disk / "filler"
    monkeypatch.setattr("tunewise.api.ProgressBar", lambda metric: Fill(filler, 4))
    command = ["train", str(tmp_path / "recipe.yaml"), "--out", str(out)]
    failed = CliRunner().invoke(app, command)
    assert failed.exit_code == 1 and "Traceback" not in failed.output
    told = failed.stderr.splitlines()[-3:]
    assert told[0].startswith(f"error: cannot save {out / CHECKPOINTS / 'step-00000006-'}")
    assert " bytes needed): the disk is full, " in told[0] and told[0].endswith(" bytes are free")
    assert told[2] == "  to do: free some space, or choose a folder on another disk"
    series = Series(out / CHECKPOINTS)
    assert series.latest().name.startswith("step-00000003-") and series.warnings == []
    filler.unlink()
    monkeypatch.undo()
    resumed = CliRunner().invoke(app, [*command, "--resume"])
    assert resumed.exit_code == 0, resumed.output
    assert differences(evidence_of(tmp_path / "whole"), evidence_of(out)) == [] and not leftovers_in(out)
