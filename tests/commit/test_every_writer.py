"""Whatever tunewise writes bears every fault of the bench: records, settings, logs, predictions, results, exports."""

from __future__ import annotations

import json
import os
import sys
import time
import warnings
from collections.abc import Callable, Iterator
from contextlib import contextmanager, nullcontext
from dataclasses import replace
from pathlib import Path
from types import SimpleNamespace

import numpy as np
import pytest
from fault_bench import (
    FAULTS,
    Job,
    check_any_operation_fails,
    check_damage_is_found,
    check_killed_at_any_operation,
    check_the_disk_takes_no_more,
    file_size_limit,
)

from tunewise.cli import checking, conforming, initialising, predicting
from tunewise.commit import AppendedFile, check_page, export_file, sweep, unsealed
from tunewise.commit.leftovers import ABANDONED_SECONDS
from tunewise.comparison import compare, curve
from tunewise.errors import StoreError, TunewiseWarning
from tunewise.tracking.predictions import read_predictions, write_predictions
from tunewise.tracking.record import RunRecord, read_record, write_record
from tunewise.tracking.run_folder import COMPARISON, CURVE, CURVE_PAGE, RECIPE, REPORT, TUNED, write_settings
from tunewise.tracking.verification import verify_run
from tunewise.types import Predictions, Schema


def record(word: str) -> RunRecord:
    return RunRecord(status="finished", method=word, seed=0, recipe={"model": "m"}, id="0", created="2026-01-01")


def read_a_record(root: Path, told: list[str]) -> str:
    sweep(root)
    found = read_record(root)
    assert found == record(found.method)
    return found.method


def read_settings(root: Path, told: list[str]) -> str:
    """Both files are written once, the recipe first; the record, which comes after them, says the same."""
    sweep(root)
    if not (root / RECIPE).is_file() or not (root / TUNED).is_file():
        return "old"
    write_record(root, replace(record("full"), status="running", tuned={"device": "cpu", "recipe": "0"}))
    told += [f"{damage.file}: {damage.what}" for damage in verify_run(root).damages]
    return "damaged" if told else "new"


def said(word: str) -> dict[str, Predictions]:
    values = np.arange(60.0).reshape(20, 3) + (word == "new")
    return {"test": Predictions(values, values[:, 0].astype(np.int64), np.zeros(20, np.int64), np.arange(20))}


def read_the_predictions(root: Path, told: list[str]) -> str:
    sweep(root)
    found = read_predictions(root, "test")
    return next(word for word in ("old", "new") if np.array_equal(found.scores, said(word)["test"].scores))


def results(word: str, write: Callable[..., None] = compare.write_results) -> Callable[[Path], None]:
    return lambda root: write(root, {"word": word, "runs": []})


def read_results(root: Path, told: list[str], file: str = COMPARISON, page: str = REPORT) -> str:
    """The report may be the one before: the command goes on and writes both anew."""
    sweep(root)
    check_page((root / page).read_bytes(), root / page)
    content = unsealed((root / file).read_bytes(), root / file)
    assert content["runs"] == []
    return content["word"]


def looked(word: str) -> Callable[[Path], None]:
    return lambda root: checking.write_audit(root, {"word": word})


def read_looked(root: Path, told: list[str]) -> str:
    """The page may be the one before: the command looks again and writes both anew."""
    age_leftovers(root)
    export_file(root / "other.txt", "other")
    (root / "other.txt").unlink()
    check_page((root / checking.PAGE).read_bytes(), root / checking.PAGE)
    return unsealed((root / checking.RESULT).read_bytes(), root / checking.RESULT)["word"]


def read_curve(root: Path, told: list[str]) -> str:
    return read_results(root, told, CURVE, CURVE_PAGE)


def read_export(root: Path, told: list[str]) -> str:
    """Nobody owns the folder: what was staged goes with the first export a day later."""
    age_leftovers(root)
    export_file(root / "other.txt", "other")
    (root / "other.txt").unlink()
    return (root / "out.csv").read_text().strip() if (root / "out.csv").is_file() else "old"


def age_leftovers(root: Path) -> None:
    then = time.time() - 2 * ABANDONED_SECONDS
    for path in root.rglob("*"):
        os.utime(path, (then, then), follow_symlinks=False)


JOBS = [
    Job(
        "record",
        lambda root: write_record(root, record("old")),
        lambda root: write_record(root, record("new")),
        read_a_record,
    ),
    Job(
        "settings",
        lambda root: None,
        lambda root: write_settings(root, "model: m\n", {"device": "cpu"}),
        read_settings,
    ),
    Job(
        "predictions",
        lambda root: write_predictions(root, said("old")),
        lambda root: write_predictions(root, said("new")),
        read_the_predictions,
    ),
    Job("results of a comparison", results("old"), results("new"), read_results),
    Job("results of a check", looked("old"), looked("new"), read_looked),
    Job("results of a curve", results("old", curve.write_curve), results("new", curve.write_curve), read_curve),
    Job("export", lambda root: export_file(root / "out.csv", "old"), lambda root: export(root), read_export),
]


def export(root: Path) -> None:
    """As `tunewise predict --out` does with what a model says."""
    predicting.predict_file(Path("run"), Path("rows.csv"), root / "out.csv", 8)


@pytest.fixture(autouse=True)
def small_contents(monkeypatch: pytest.MonkeyPatch) -> None:
    """What is written does not matter here, but how: no model is asked, and no page of 5 MB rendered."""
    monkeypatch.setattr(compare, "render_html", lambda content: f"<html>{content['word']}</html>\n")
    monkeypatch.setattr(checking, "render_audit", lambda content: f"<html>{content['word']}</html>\n")
    monkeypatch.setattr(curve, "render_curve", lambda content: f"<html>{content['word']}</html>\n")
    monkeypatch.setattr(predicting, "trained_on", lambda run: (None, Schema("regression", ("text",), "y")))
    monkeypatch.setattr(predicting, "load_split", lambda *_, **__: ["row"])
    monkeypatch.setattr(predicting, "_lines", lambda *_: [["new"]])
    monkeypatch.setitem(sys.modules, "tunewise.engine.text_model", SimpleNamespace(load=lambda run: None))


@pytest.mark.parametrize("job", JOBS, ids=lambda job: job.name)
@pytest.mark.parametrize("fault", FAULTS)
def test_no_fault_makes_it_lose_anything(job: Job, fault: str, tmp_path: Path) -> None:
    FAULTS[fault](job, tmp_path)


@pytest.mark.parametrize("job", JOBS[:-1], ids=lambda job: job.name)
def test_damage_of_it_is_found(job: Job, tmp_path: Path) -> None:
    """An export is for other programs, and carries no seal."""
    check_damage_is_found(job, tmp_path)


# ---------------------------------------------------------------- the command line's other exports


@pytest.mark.parametrize("command", ["init", "conformance"])
def test_other_commands_export_in_the_same_way(
    command: str, tmp_path: Path, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    written: list[Path] = []
    out = tmp_path / "out.file"
    if command == "init":
        (tmp_path / "rows.csv").write_text("text,label\n" + "".join(f"text {n},{'ab'[n % 2]}\n" for n in range(20)))
        monkeypatch.setattr(initialising, "export_file", lambda path, data: written.append(path))
        initialising.write_first_recipe(tmp_path / "rows.csv", out, "model")
    else:
        from tunewise.conformance import matrix

        monkeypatch.setattr(conforming, "export_file", lambda path, data: written.append(path))
        monkeypatch.setattr(matrix, "missing_packages", lambda name: [])
        monkeypatch.setattr(matrix, "trials", lambda: nullcontext(None))
        monkeypatch.setattr(matrix, "all_pairs", lambda *_: [])
        conforming.run_conformance(["head"], ["bert"], False, out, as_json=True)
        json.loads(capsys.readouterr().out)
    assert written == [out] and not out.exists()


def test_a_folder_for_an_export_is_made_or_told(tmp_path: Path) -> None:
    export_file(tmp_path / "new" / "deep" / "out.csv", "new")
    assert (tmp_path / "new" / "deep" / "out.csv").read_text() == "new"


# ---------------------------------------------------------------- files that only grow


def test_a_row_that_does_not_fit_is_taken_back(tmp_path: Path) -> None:
    log = AppendedFile(tmp_path / "log.jsonl")
    log.write(b"x" * 90 + b"\n")
    with file_size_limit(100), pytest.raises(StoreError, match=r"cannot write to .*log\.jsonl \(51 bytes needed\)"):
        log.write(b"y" * 50 + b"\n")
    assert (tmp_path / "log.jsonl").stat().st_size == 91
    log.write(b"z\n")
    log.sync()
    log.close()
    log.close()
    assert (tmp_path / "log.jsonl").read_bytes() == b"x" * 90 + b"\nz\n" and log.closed


def test_a_file_that_must_be_new(tmp_path: Path) -> None:
    (tmp_path / "events").write_text("")
    with pytest.raises(StoreError, match="cannot open"):
        AppendedFile(tmp_path / "events", new=True)
    with pytest.raises(StoreError, match="a part of the path is a file"):
        AppendedFile(tmp_path / "events" / "log")


# ---------------------------------------------------------------- the answers of the machine


@contextmanager
def told_warnings() -> Iterator[list[str]]:
    told: list[str] = []
    with warnings.catch_warnings(record=True) as caught:
        warnings.simplefilter("always", TunewiseWarning)
        yield told
    told += [str(warning.message) for warning in caught]


def test_the_machine_file(tmp_path: Path) -> None:
    """Never an error: what cannot be kept is asked again, which is told."""
    pytest.importorskip("torch")
    from tunewise.commit import Cache
    from tunewise.engine.machine import Machine, Question

    def machine(root: Path) -> Machine:
        return Machine(root, {"cpu": "Abacus"}, clock=iter(range(10**9)).__next__)

    def question(name: str, told: list[str]) -> Question:
        return Question(name, "plain", 1.2, lambda: told.append(name) or {"plain": lambda: None})

    def work(root: Path) -> bool:
        with told_warnings() as told:
            machine(root).ask(question("second", []))
        return not told

    def read(root: Path, told: list[str]) -> str:
        age_leftovers(root)
        Cache(root, 10**6).put("0" * 64, lambda folder: (folder / "x").write_text("x") and None, {})
        Cache(root, 10**6).clear()
        (root / "locks").is_dir() and (root / "locks").rmdir()
        asked: list[str] = []
        with told_warnings() as warned:
            machine(root).ask(question("first", asked))
            first = list(asked)
            if not first:
                machine(root).ask(question("second", asked))
        told += warned
        return "damaged" if first else "old" if asked else "new"

    job = Job("machine", lambda root: machine(root).ask(question("first", [])), work, read)
    check_any_operation_fails(job, tmp_path / "once")
    check_killed_at_any_operation(job, tmp_path / "killed")
    check_the_disk_takes_no_more(job, tmp_path / "full")
    check_damage_is_found(job, tmp_path / "harm")
