"""Whether `runs verify` finds every harm that can come to what a run or a comparison has left."""

from __future__ import annotations

import os
from collections.abc import Iterator
from pathlib import Path

import pytest
from run_samples import write_baseline, write_comparison, write_run

from tunewise.commit import lock, sealed
from tunewise.tracking.record import read_record
from tunewise.tracking.store import find_folders
from tunewise.tracking.verification import verify_comparison, verify_run

# What people may change, and what is no content.
FREE = {"model/README.md", ".lock"}


def harmed(raw: bytes) -> Iterator[bytes]:
    yield from (raw[:length] for length in (0, len(raw) // 2, len(raw) - 2))
    for place in range(0, len(raw), max(1, len(raw) // 9)):
        yield raw[:place] + bytes([raw[place] ^ 1 << place % 8]) + raw[place + 1 :]


def files_of(folder: Path) -> dict[str, Path]:
    return {path.relative_to(folder).as_posix(): path for path in sorted(folder.rglob("*")) if path.is_file()}


@pytest.mark.parametrize("status", ["finished", "interrupted"])
def test_every_harm_to_a_run_is_found_and_the_file_named(status: str, tmp_path: Path) -> None:
    run = write_run(tmp_path / "run", status)
    assert verify_run(run).ok and verify_run(run).status == status
    assert {"log.jsonl", "tuned.json", "record.json", "recipe.yaml"} < files_of(run).keys()
    for name, path in files_of(run).items():
        raw = path.read_bytes()
        for number, change in enumerate(harmed(raw)):
            path.write_bytes(change)
            found = verify_run(run)
            if name in FREE:
                assert found.ok
            elif name == "log.jsonl" and status != "finished" and raw.startswith(change[: change.rfind(b"\n") + 1]):
                assert found.ok  # it may have been killed there; a resume tells of rows that are lost
            else:
                named = {damage.file for damage in found.damages}
                assert not found.ok and (name in named or named == {"checkpoints/current"}), (name, number, found)
        path.write_bytes(raw)
    assert verify_run(run).ok


@pytest.mark.parametrize("status", ["finished", "interrupted"])
def test_every_missing_file_of_a_run_is_found(status: str, tmp_path: Path) -> None:
    run = write_run(tmp_path / "run", status)
    for name, path in files_of(run).items():
        raw = path.read_bytes()
        path.unlink()
        # A run that is to go on begins a new log, and takes the newest checkpoint.
        spared = {"log.jsonl", "checkpoints/current"} if status == "interrupted" else set()
        assert verify_run(run).ok == (name in FREE | spared), name
        path.write_bytes(raw)
    assert verify_run(run).ok


def test_all_that_is_damaged_is_named_at_once(tmp_path: Path) -> None:
    run = write_run(tmp_path / "run")
    for name in ("model/adapter_model.safetensors", "model/tunewise.json", "predictions/test.parquet", "tuned.json"):
        (run / name).write_bytes((run / name).read_bytes()[:-2])
    (run / "model" / "notes.txt").write_text("added")
    found = verify_run(run)
    assert [damage.file for damage in found.damages] == [
        "tuned.json",
        "model/notes.txt",
        "model/adapter_model.safetensors",
        "model/tunewise.json",
        "predictions/test.parquet",
    ]
    assert all(damage.what and damage.fix for damage in found.damages)


def test_settings_of_another_run_are_no_settings_of_this_one(tmp_path: Path) -> None:
    run = write_run(tmp_path / "run")
    (run / "tuned.json").write_text(sealed({"device": "cpu", "precision": "bf16", "threads": 1}))
    (run / "recipe.yaml").write_text((run / "recipe.yaml").read_text().replace("rank: 2", "rank: 3"))
    told = [(damage.file, damage.what) for damage in verify_run(run).damages]
    assert told == [(name, f"{name} is not what record.json says of it") for name in ("tuned.json", "recipe.yaml")]


def test_a_baseline_has_record_and_predictions(tmp_path: Path) -> None:
    run = write_baseline(tmp_path / "majority")
    assert verify_run(run).ok
    (run / "predictions" / "test.parquet").unlink()
    (damage,) = verify_run(run).damages
    assert damage.file == "predictions/test.parquet" and "missing" in damage.what


def test_what_a_killed_process_left_is_named_and_left_alone(tmp_path: Path) -> None:
    run = write_run(tmp_path / "run", "running")
    staged = [f".tmp-{'0' * 32}", f"checkpoints/.tmp-{'1' * 32}", f".old-{'2' * 32}-model"]
    for name in staged:
        (run / name).mkdir()
    found = verify_run(run)
    assert found.ok and found.status == "interrupted" and "--resume" in found.note
    assert set(found.leftovers) == set(staged) and all((run / name).is_dir() for name in staged)


def test_a_run_at_work_is_left_alone(tmp_path: Path) -> None:
    run = write_run(tmp_path / "run", "running")
    (run / "tuned.json").write_text("half")
    with lock(run):
        found = verify_run(run)
    assert found.ok and found.status == "running" and f"process {os.getpid()}" in found.note
    assert not verify_run(run).ok


def test_every_harm_to_a_comparison_is_found(tmp_path: Path) -> None:
    folder = write_comparison(tmp_path / "first")
    assert verify_comparison(folder).ok and verify_comparison(folder).status == "complete"
    assert find_folders(tmp_path) == ([folder / "runs/lora-seed0", folder / "runs/majority"], [folder])
    for name in ("comparison.json", "report.html", "tuned.json"):
        raw = (folder / name).read_bytes()
        for change in harmed(raw):
            (folder / name).write_bytes(change)
            (damage,) = verify_comparison(folder).damages
            assert damage.file == name and damage.fix
        (folder / name).write_bytes(raw)
    (folder / "runs/majority/record.json").unlink()
    (damage,) = verify_comparison(folder).damages
    assert damage.file == "runs/majority/record.json" and "the record of majority is missing" in damage.what
    (folder / "report.html").unlink()
    assert {damage.file for damage in verify_comparison(folder).damages} == {"report.html", damage.file}


def test_a_comparison_that_was_killed(tmp_path: Path) -> None:
    folder = write_comparison(tmp_path / "first")
    (folder / "comparison.json").unlink()
    (folder / f".tmp-{'0' * 32}").write_text("half")
    found = verify_comparison(folder)
    assert found.ok and found.status == "unfinished" and found.leftovers == (f".tmp-{'0' * 32}",)
    assert find_folders(tmp_path)[1] == [folder]
    with lock(folder):
        assert verify_comparison(folder).status == "running"


def test_nothing_is_changed(tmp_path: Path) -> None:
    folder = write_comparison(tmp_path / "first")
    before = {name: (path.read_bytes(), path.stat().st_mtime_ns) for name, path in files_of(folder).items()}
    verify_comparison(folder)
    verify_run(folder / "runs/lora-seed0")
    assert before == {name: (path.read_bytes(), path.stat().st_mtime_ns) for name, path in files_of(folder).items()}
    assert read_record(folder / "runs/lora-seed0").status == "finished"
