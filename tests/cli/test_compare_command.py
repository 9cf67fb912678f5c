"""`tunewise compare`, end to end, with processes of their own."""

from __future__ import annotations

import json
import os
import shutil
import signal
import subprocess
import sys
import time
from dataclasses import replace
from pathlib import Path

import pytest
from typer.testing import CliRunner

from tunewise.check import check
from tunewise.cli.main import app
from tunewise.cli.watching import Silent
from tunewise.commit import sealed
from tunewise.comparison.compare import compare
from tunewise.engine.candidates import stack_question
from tunewise.engine.machine import this_machine
from tunewise.models.attention import attention_of
from tunewise.recipe import load_recipe, write_recipe
from tunewise.types import Costs


@pytest.fixture
def compared(recipe, tunewise, tmp_path: Path):
    result = tunewise("compare", recipe(), "--out", tmp_path / "first")
    assert result.exit_code == 0, result.output
    return tmp_path / "first", result


def test_everything_is_there(compared) -> None:
    out, result = compared
    content = json.loads((out / "comparison.json").read_text())
    assert [run["name"] for run in content["runs"]] == ["majority", "tfidf", *["features", "head", "lora(rank=2)"] * 2]
    assert {run["status"] for run in content["runs"]} == {"finished"}
    for run in content["runs"]:
        assert set(run["costs"]) == set(Costs.__dataclass_fields__)
        assert run["costs"]["peak_memory_bytes"] > 10_000_000
        assert {"accuracy", "f1_macro", "log_loss"} <= set(run["scores"]["test"])
    by_name = {entry["name"]: entry for entry in content["summary"]}
    assert (
        by_name["head"]["finished"] == 2
        and by_name["head"]["low"] <= by_name["head"]["mean"] <= by_name["head"]["high"]
    )
    assert content["recommendation"]["method"] in by_name and content["left_out"] == []
    page = (out / "report.html").read_text()
    assert "<html" in page and "Methods left out" not in page and "http://" not in page.split("</style>")[0]
    assert "Take " in result.stdout and str(out / "report.html") in result.stdout
    verified = CliRunner().invoke(app, ["runs", "verify", str(out)])
    assert verified.exit_code == 0 and "8 runs, 1 comparison: all as they were written" in verified.stdout, (
        verified.output
    )


def test_rates_are_tried_with_the_first_seed_and_the_best_is_taken(recipe, tunewise, tmp_path: Path) -> None:
    out = tmp_path / "rates"
    path = recipe(rate_grid=[0.1, 10], methods=["features", "head"])
    result = tunewise("compare", path, "--out", out)
    assert result.exit_code == 0, result.output
    content = json.loads((out / "comparison.json").read_text())
    head = {rate["scale"]: rate for rate in content["rates"]}
    assert set(head) == {0.1, 10} and head[10]["learning_rate"] == pytest.approx(100 * head[0.1]["learning_rate"])
    (taken,) = [rate["scale"] for rate in content["rates"] if rate["chosen"]]
    assert head[taken]["value"] == max(rate["value"] for rate in content["rates"])
    folders = [run["folder"] for run in content["runs"] if run["name"] == "head"]
    assert folders == [f"runs/head-rate{taken:g}-seed{seed}" for seed in (0, 1)]
    assert {path.name for path in (out / "runs").iterdir() if path.name.startswith("head")} == {
        "head-rate0.1-seed0",
        "head-rate10-seed0",
        f"head-rate{taken:g}-seed1",
    }
    assert "best on validation of 0.1, 10 times its own" in " ".join(result.stdout.split())
    assert "Learning rates" in (out / "report.html").read_text()
    before = {path: path.stat().st_mtime_ns for path in out.glob("runs/*/record.json")}
    again = tunewise("compare", path, "--out", out)
    assert again.exit_code == 0 and f"{len(before)} runs, {len(before)} of them finished before" in again.stderr
    assert {path: path.stat().st_mtime_ns for path in out.glob("runs/*/record.json")} == before


def stop_at_step(step: int, path: Path, out: Path, run: str) -> None:
    """Interrupts the comparison of a recipe once one of its runs has come so far."""
    command = [sys.executable, "-m", "tunewise.cli.main", "compare", str(path), "--out", str(out)]
    process = subprocess.Popen(command, stdout=subprocess.PIPE, stderr=subprocess.PIPE, start_new_session=True)
    log = out / "runs" / run / "log.jsonl"
    deadline = time.monotonic() + 60
    while not (log.is_file() and f'"step": {step}' in log.read_text()) and time.monotonic() < deadline:
        time.sleep(0.01)
    os.killpg(process.pid, signal.SIGINT)
    _, errors = process.communicate(timeout=60)
    assert process.returncode == 130, errors


def in_one_pass(path: Path) -> None:
    """Lets this machine know that stacked runs are the fastest for a recipe."""
    recipe = load_recipe(path)
    checked = check(recipe, path.parent, recipe.all_methods)
    shape = attention_of(*checked.models.values(), checked.data, recipe.train.dropout, recipe.train.max_length)
    question = stack_question(shape, recipe.train.batch_size, recipe.train.precision)
    this_machine().ask(replace(question, default="4", work=lambda: {"4": lambda: None}))


@pytest.fixture
def stacking(recipe) -> Path:
    path = recipe(
        methods=["head", {"lora": {"rank": 2}}],  # with enough else to do, trials are not spread over the cores
        rate_grid=[0.3, 1, 3],
        train={"max_steps": 24, "batch_size": 8, "dropout": 0, "threads": 1, "precision": "fp32", "evaluate_every": 12},
    )
    in_one_pass(path)
    return path


def test_rates_of_lora_are_tried_in_one_pass(stacking: Path, tunewise, tmp_path: Path) -> None:
    out = tmp_path / "stacked"
    result = tunewise("compare", stacking, "--out", out)
    assert result.exit_code == 0, result.output
    content = json.loads((out / "comparison.json").read_text())
    assert [rate["stacked"] for rate in content["rates"]] == [1, 1, 1, 3, 3, 3]
    records = {path.parent.name: json.loads(path.read_text()) for path in out.glob("runs/lora*/record.json")}
    together = {name: record.get("stacked") for name, record in records.items()}
    (taken,) = [rate["scale"] for rate in content["rates"] if rate["chosen"] and rate["stacked"] == 3]
    assert together == {**{f"lora-rate{scale:g}-seed0": 3 for scale in (0.3, 1, 3)}, f"lora-rate{taken:g}-seed1": None}
    # What a method costs is told by the seed that trained alone.
    (summary,) = [entry for entry in content["summary"] if entry["method"].startswith("lora")]
    assert summary["costs"] == records[f"lora-rate{taken:g}-seed1"]["costs"]
    words = " ".join(result.stdout.split())
    assert "trials of lora(rank=2) trained in one pass over the base" in words
    page = (out / "report.html").read_text()
    assert "trained in one pass over the base, which is faster" in page and ", 1 of 3 in one pass" in page
    card = (out / "runs" / f"lora-rate{taken:g}-seed0" / "model" / "README.md").read_text()
    assert "3 runs trained in one pass over the base" in card
    verified = CliRunner().invoke(app, ["runs", "verify", str(out)])
    assert verified.exit_code == 0, verified.output


def test_stacked_trials_that_were_stopped_go_on_as_they_would_have(stacking: Path, tunewise, tmp_path: Path) -> None:
    whole, out = tmp_path / "whole", tmp_path / "stopped"
    assert tunewise("compare", stacking, "--out", whole).exit_code == 0
    stop_at_step(2, stacking, out, "lora-rate3-seed0")
    statuses = [json.loads(path.read_text())["status"] for path in out.glob("runs/lora*/record.json")]
    assert len(statuses) == 3 and set(statuses) <= {"interrupted", "finished"}
    assert tunewise("compare", stacking, "--out", out).exit_code == 0

    def results(folder: Path) -> dict[str, tuple]:
        records = {path.parent.name: json.loads(path.read_text()) for path in folder.glob("runs/lora*/record.json")}
        return {name: (each["status"], each["scores"], each["curve"]) for name, each in records.items()}

    assert results(out) == results(whole)


def test_costs_tell_methods_apart(compared) -> None:
    content = json.loads((compared[0] / "comparison.json").read_text())
    costs = {entry["name"]: entry["costs"] for entry in content["summary"]}
    assert (
        costs["features"]["backward_flops"]
        == 0
        < costs["head"]["backward_flops"]
        < costs["lora(rank=2)"]["backward_flops"]
    )
    assert costs["head"]["trainable_parameters"] < costs["head"]["total_parameters"]
    assert costs["lora(rank=2)"]["total_parameters"] > costs["head"]["total_parameters"]
    for run in content["runs"]:  # alone, a run pays for its imports; here they were paid once for all
        if run["kind"] == "method":
            assert run["costs"]["total_seconds"] > run["marginal"]["total_seconds"] > run["costs"]["train_seconds"]


def test_again_is_quick_and_changes_nothing(compared, recipe, tunewise) -> None:
    out, _ = compared
    before = {path: path.stat().st_mtime_ns for path in out.glob("runs/*/record.json")}
    scores = {run["id"]: run["scores"] for run in json.loads((out / "comparison.json").read_text())["runs"]}
    assert tunewise("compare", recipe(), "--out", out).exit_code == 0
    assert {path: path.stat().st_mtime_ns for path in out.glob("runs/*/record.json")} == before
    assert {run["id"]: run["scores"] for run in json.loads((out / "comparison.json").read_text())["runs"]} == scores


def test_another_recipe_is_refused(compared, recipe, tunewise) -> None:
    out, _ = compared
    result = tunewise("compare", recipe(methods=["head"]), "--out", out)
    assert result.exit_code != 0 and "another recipe" in result.stderr


def test_same_seed_same_scores_side_by_side_or_not(compared, recipe, tunewise, tmp_path: Path) -> None:
    again = tmp_path / "again"
    assert tunewise("compare", recipe(), "--out", again, "--jobs", "1").exit_code == 0

    def scores(out: Path) -> dict:
        return {
            (run["name"], run["seed"]): run["scores"]
            for run in json.loads((out / "comparison.json").read_text())["runs"]
        }

    assert scores(again) == scores(compared[0])


def test_a_failed_run_does_not_take_the_others_down(recipe, tunewise, tmp_path: Path) -> None:
    path = recipe(methods=["head", {"last_k": {"k": 9}}], seeds=1)
    result = tunewise("compare", path, "--out", tmp_path / "out")
    assert result.exit_code == 1
    content = json.loads((tmp_path / "out" / "comparison.json").read_text())
    status = {run["name"]: (run["status"], run["error"]) for run in content["runs"]}
    assert status["head"] == ("finished", None)
    assert status["last_k(k=9)"][0] == "failed" and "4 blocks" in status["last_k(k=9)"][1]["what"]
    assert "4 blocks" in result.stdout + result.stderr
    assert content["recommendation"]["method"] in ("head", "tfidf", "majority")


def test_what_cannot_work_is_left_out_where_no_methods_are_named(
    recipe, tunewise, tiny_model, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    from tunewise.methods import METHODS

    chosen = ("head", "visual_prompt", "bitfit", "qlora")
    monkeypatch.setattr("tunewise.recipe.METHODS", chosen)
    monkeypatch.setattr(METHODS["qlora"], "packages", ("peft", "no_such_package"))
    out, models = tmp_path / "all", [str(tiny_model("bert")), str(tiny_model("llama"))]
    path = recipe(methods="all", model=None, models=models, seeds=1)
    result = tunewise("compare", path, "--out", out)
    assert result.exit_code == 0, result.output
    content = json.loads((out / "comparison.json").read_text())
    assert {run["name"] for run in content["runs"] if run["kind"] == "method"} == {
        *("head @ bert-4", "bitfit @ bert-4", "head @ llama-4")
    }
    left_out = {(entry["method"], Path(entry["model"]).name): entry["reason"] for entry in content["left_out"]}
    assert set(left_out) == {
        *((name, model) for name in ("visual_prompt", "qlora") for model in ("bert-4", "llama-4")),
        ("bitfit", "llama-4"),
    }
    told = [line for line in result.stderr.splitlines() if line.startswith("left out: ")]
    assert told == [f"left out: {reason}" for reason in dict.fromkeys(left_out.values())] and len(told) == 3
    page = (out / "report.html").read_text()
    assert "Methods left out" in page and page.count("needs the package no_such_package, which is not installed") == 1
    assert "methods: all" in (out / "recipe.yaml").read_text()
    named = tunewise("compare", recipe(methods=["head", "bitfit"], model=models[1]), "--out", tmp_path / "named")
    assert named.exit_code == 2 and "take the method 'norms'" in named.stderr and not (tmp_path / "named").exists()


def test_models_are_compared_too(recipe, tunewise, tiny_model, tmp_path: Path) -> None:
    path = recipe(
        model=None, models=[str(tiny_model("bert")), str(tiny_model("distilbert"))], methods=["head"], seeds=1
    )
    assert tunewise("compare", path, "--out", tmp_path / "out").exit_code == 0
    names = [entry["name"] for entry in json.loads((tmp_path / "out" / "comparison.json").read_text())["summary"]]
    assert names == ["majority", "tfidf", "head @ bert-4", "head @ distilbert-4"]


def test_interrupted_then_continued_equals_uninterrupted(recipe, tunewise, tmp_path: Path) -> None:
    path = recipe(
        methods=["full"], seeds=1, train={"max_steps": 60, "batch_size": 8, "threads": 1, "precision": "fp32"}
    )
    assert tunewise("compare", path, "--out", tmp_path / "whole").exit_code == 0
    out = tmp_path / "stopped"
    stop_at_step(5, path, out, "full-seed0")
    content = json.loads((out / "comparison.json").read_text())
    assert {run["name"]: run["status"] for run in content["runs"]}["full"] == "interrupted"
    assert tunewise("compare", path, "--out", out).exit_code == 0

    def result(folder: Path) -> tuple:
        run = next(r for r in json.loads((folder / "comparison.json").read_text())["runs"] if r["name"] == "full")
        return run["status"], run["scores"], run["curve"]

    assert result(out) == result(tmp_path / "whole")


def test_data_and_models_are_read_once_for_all_runs(tickets: Path, recipe, tiny_bert: Path, tmp_path: Path) -> None:
    """The processes of the runs find neither the table nor what is checked of the model, and need not."""
    table, model = tmp_path / "moved.csv", tmp_path / "model"
    table.write_text(tickets.read_text())
    shutil.copytree(tiny_bert, model)

    class Moving(Silent):
        def on_plan(self, checked, entries, done: int, side_by_side: int) -> None:
            table.unlink()
            (model / "config.json").write_text((model / "config.json").read_text() + " ")

    path = recipe(data={"train": str(table), "text": "message", "label": "intent"}, model=str(model), seeds=1)
    done = compare(load_recipe(path), tmp_path / "out", folder=tmp_path, watcher=Moving())
    assert [run["status"] for run in done.content["runs"]] == ["finished"] * 5
    for run in done.content["runs"]:  # alone, each would have read them
        assert run["costs"]["total_seconds"] > run["marginal"]["total_seconds"]


def test_what_was_fitted_to_the_machine_is_kept_for_each_model(recipe, tunewise, tiny_model, tmp_path: Path) -> None:
    models = [str(tiny_model("bert")), str(tiny_model("distilbert"))]
    out, path = tmp_path / "out", recipe(model=None, models=models, methods=["head"], seeds=1)
    assert tunewise("compare", path, "--out", out).exit_code == 0
    kept = json.loads((out / "tuned.json").read_text())["models"]
    assert set(kept) == set(models)
    for folder, model in (("head-model0-seed0", models[0]), ("head-model1-seed0", models[1])):
        record = json.loads((out / "runs" / folder / "record.json").read_text())
        assert {key: value for key, value in record["tuned"].items() if key != "recipe"} == kept[model]
        assert {"attention", "attention_prediction"} <= set(kept[model])


def test_a_comparison_begun_before_attention_was_measured_goes_on(recipe, tunewise, tmp_path: Path) -> None:
    path, out = recipe(methods=["head"], seeds=1), tmp_path / "out"
    out.mkdir()
    (out / "recipe.yaml").write_text(write_recipe(load_recipe(path).anchored(tmp_path)))
    (out / "tuned.json").write_text(sealed({"device": "cpu", "precision": "fp32", "threads": 1}))
    assert tunewise("compare", path, "--out", out).exit_code == 0
    record = json.loads((out / "runs" / "head-seed0" / "record.json").read_text())
    assert record["tuned"]["attention"] == record["tuned"]["attention_prediction"] == "eager"


def test_changed_data_is_noticed(tickets: Path, recipe, tunewise, tmp_path: Path) -> None:
    copy = tmp_path / "copy.csv"
    copy.write_text(tickets.read_text())
    path = recipe(data={"train": str(copy), "text": "message", "label": "intent"}, methods=["head"], seeds=1)
    assert tunewise("compare", path, "--out", tmp_path / "out").exit_code == 0
    copy.write_text(tickets.read_text().replace("parcel", "package"))
    result = tunewise("compare", path, "--out", tmp_path / "out")
    assert result.exit_code != 0 and "the data has changed" in result.stderr
