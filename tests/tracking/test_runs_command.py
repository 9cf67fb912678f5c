"""`tunewise runs`, `tunewise runs verify`: what a user types, and what comes of it."""

from __future__ import annotations

import json
from collections.abc import Callable
from pathlib import Path

import pytest
from click.testing import Result
from run_samples import write_comparison, write_run
from typer.testing import CliRunner

from tunewise.cli.main import app
from tunewise.commit import lock


@pytest.fixture
def runs(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Callable[..., Result]:
    """Runs the command in a folder with `runs/first`, a comparison, and `runs/one`, a single run."""
    monkeypatch.chdir(tmp_path)
    write_comparison(tmp_path / "runs/first")
    write_run(tmp_path / "runs/one")
    return lambda *arguments: CliRunner().invoke(app, ["runs", *arguments])


def test_all_is_well(runs: Callable[..., Result]) -> None:
    done = runs("verify")
    assert done.exit_code == 0, done.output
    assert done.stdout.splitlines() == [
        "ok       runs/first  (comparison, complete)",
        "ok       runs/first/runs/lora-seed0  (finished)",
        "ok       runs/first/runs/majority  (finished)",
        "ok       runs/one  (finished)",
        "3 runs, 1 comparison: all as they were written",
    ]


def test_damage_is_told_with_what_to_do(runs: Callable[..., Result]) -> None:
    model = Path("runs/one/model/adapter_model.safetensors")
    model.write_bytes(model.read_bytes()[:-1])
    Path(f"runs/one/.tmp-{'0' * 32}").write_text("half")
    done = runs("verify", "--out", "runs/one")
    assert done.exit_code == 1 and done.stdout.splitlines() == [
        "damaged  runs/one  (finished)",
        "         model/adapter_model.safetensors: is not what was written (sha256 differs)",
        "           to do: restore the folder from a copy, or use an older one",
        f"         left by a process that was killed: .tmp-{'0' * 32}",
        "1 run: 1 damaged",
    ]
    assert runs("verify", "runs/first").exit_code == 0
    assert runs("verify", "runs/first", "runs/one").exit_code == 1


def test_as_json(runs: Callable[..., Result]) -> None:
    Path("runs/first/report.html").write_text("<html>mine</html>")
    with lock(Path("runs/one")):
        done = runs("verify", "--json")
    assert done.exit_code == 1
    found = {entry["path"]: entry for entry in json.loads(done.stdout)}
    assert {path: entry["ok"] for path, entry in found.items()} == {
        "runs/first": False,
        "runs/first/runs/lora-seed0": True,
        "runs/first/runs/majority": True,
        "runs/one": True,
    }
    (damage,) = found["runs/first"]["damages"]
    assert damage["file"] == "report.html" and "no sha256" in damage["what"] and damage["fix"]
    assert found["runs/one"]["status"] == "running" and "is at work in it" in found["runs/one"]["note"]


@pytest.mark.parametrize("place", ["absent", "empty"])
def test_a_place_without_runs(place: str, runs: Callable[..., Result]) -> None:
    Path("empty").mkdir()
    done = runs("verify", place)
    assert done.exit_code == 1 and place in done.stderr and "--out" in done.stderr and "Traceback" not in done.stderr


def test_names_of_folders_are_plain_text(runs: Callable[..., Result]) -> None:
    write_run(Path("runs/\x1b[31mred\nline"))
    assert "ok       runs/red line  (finished)" in runs("verify").stdout


def test_listing_as_before(runs: Callable[..., Result]) -> None:
    rows = json.loads(runs("--json").stdout)
    assert rows == json.loads(runs("list", "--out", "runs", "--json").stdout) and len(rows) == 3
    assert len(json.loads(runs("list", "runs/one", "--json").stdout)) == 1
    assert "first/runs/lora-seed0" in runs().stdout
    both = runs("list", "runs/one", "runs/first").stdout
    assert "runs/one" in both and "runs/first/runs/majority" in both
    Path("none").mkdir()
    assert runs("--out", "none").stdout == "there are no runs in none\n"
