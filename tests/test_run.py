"""A whole run in its folder: what it leaves when it finishes, fails, is stopped, and is resumed."""

from __future__ import annotations

import csv
import hashlib
import json
import os
import signal
import subprocess
import sys
import time
from collections.abc import Callable
from pathlib import Path
from typing import Any

import numpy as np
import pytest
from sklearn.metrics import accuracy_score, f1_score, mean_squared_error

from tunewise.commit import lock, sealed, verify
from tunewise.config.reading import Chunks
from tunewise.engine import evaluation
from tunewise.engine.device import Tuned
from tunewise.engine.events import Observer
from tunewise.engine.text_model import load
from tunewise.errors import Interrupted, LockedError, NonFiniteError, RecipeError, StoreError
from tunewise.recipe import Recipe, load_recipe, recipe_from
from tunewise.run import run
from tunewise.tracking.jsonl_log import read_log
from tunewise.tracking.predictions import read_predictions
from tunewise.tracking.record import RunRecord, read_record
from tunewise.types import DataBundle


class SignalAt(Observer):
    """Sends this process a Ctrl-C after a step, as a user would."""

    def __init__(self, step: int):
        self.step = step

    def on_step(self, event: Any) -> None:
        if event.step == self.step:
            os.kill(os.getpid(), signal.SIGINT)


@pytest.fixture
def recipe(
    tiny_model: Callable[..., Path], toy_data: Callable[..., DataBundle], tmp_path: Path
) -> Callable[..., Recipe]:
    """`recipe(method, task="classification", **train)`: a recipe on a table of 84 rows."""

    def make(method: Any = "full", task: str = "classification", evaluate: Any = None, **train: Any) -> Recipe:
        data = toy_data(task)
        with open(tmp_path / f"{task}.csv", "w", newline="", encoding="utf-8") as file:
            writer = csv.writer(file)
            writer.writerow(["message", "label"])
            for split in data.splits.values():
                for (text,), target in zip(split.texts, split.targets, strict=True):
                    writer.writerow([text, float(target) if task == "regression" else data.schema.labels[int(target)]])
        return recipe_from(
            {
                "model": str(tiny_model("bert", 2)),
                "method": method,
                "data": {"train": f"{task}.csv", "label": "label", "task": task},
                "train": {
                    "epochs": 2,
                    "batch_size": 8,
                    "threads": 1,
                    "precision": "fp32",
                    "learning_rate": 2e-3,
                    **train,
                },
                "evaluate": {"resamples": 100, **(evaluate or {})},
            }
        )

    return make


def weights(out: Path) -> str:
    (file,) = (out / "model").glob("*.safetensors")
    return hashlib.sha256(file.read_bytes()).hexdigest()


def timeless(out: Path) -> list[dict[str, Any]]:
    return [{key: value for key, value in row.items() if key != "time"} for row in read_log(out / "log.jsonl")]


def same_result(one: RunRecord, other: RunRecord) -> bool:
    """The same but for seconds, memory, and what the paths in the card take."""
    parts = [
        json.dumps(
            [
                record.scores,
                record.validation,
                record.curve,
                record.plans,
                record.confusion,
                record.warnings,
                record.costs.forward_flops,
                record.costs.trainable_parameters,
            ],
            default=str,
        )
        for record in (one, other)
    ]
    return parts[0] == parts[1]


@pytest.mark.parametrize(
    ("method", "task"), [("full", "classification"), ("features", "regression"), ("adapter", "regression")]
)
def test_what_a_finished_run_leaves(method: str, task: str, recipe: Callable[..., Recipe], tmp_path: Path) -> None:
    out = tmp_path / "run"
    record = run(recipe(method, task, save_steps=3), out, folder=tmp_path, shared_seconds=5.0)
    assert {path.name for path in out.iterdir()} == {
        ".lock",
        "recipe.yaml",
        "tuned.json",
        "log.jsonl",
        "tensorboard",
        "predictions",
        "model",
        "record.json",
    }
    assert not [path for path in out.rglob("*") if path.name.startswith((".tmp", ".old"))]
    assert read_record(out) == read_record(out) and read_record(out).as_dict() == json.loads(
        json.dumps(record.as_dict())
    )
    assert (record.status, record.error, record.method, record.seed) == ("finished", None, method, 0)
    zero = {name for name, value in vars(record.costs).items() if not value > 0}
    assert zero == ({"backward_flops"} if method == "features" else set())
    assert record.costs.total_seconds - record.marginal.total_seconds == pytest.approx(5.0, abs=0.1)
    assert record.costs.train_seconds < record.marginal.total_seconds
    assert record.costs.saved_bytes == sum(file.stat().st_size for file in (out / "model").rglob("*") if file.is_file())
    assert sum(record.data.rows.values()) == 84
    events = [row["event"] for row in timeless(out)]
    assert (events[0], events[-1]) == ("started", "finished")
    assert timeless(out)[-1]["step"] == (record.curve[-1]["step"] if record.curve else 0)
    assert load_recipe(out / "recipe.yaml").fingerprint == record.tuned["recipe"]
    assert (out / "model" / "README.md").read_text().startswith("---")

    said = read_predictions(out, "test")
    if task == "regression":
        np.testing.assert_array_equal(said.scores, said.decisions)
        assert record.scores["test"]["mse"].value == pytest.approx(mean_squared_error(said.targets, said.decisions))
    else:
        assert record.scores["test"]["accuracy"].value == accuracy_score(said.targets, said.decisions)
        assert record.scores["test"]["f1_macro"].value == pytest.approx(
            f1_score(said.targets, said.decisions, average="macro")
        )
    with open(tmp_path / f"{task}.csv", newline="") as file:
        texts = [row["message"] for row in csv.DictReader(file)]
    again = load(out).scores([texts[row - 1] for row in said.rows])
    np.testing.assert_allclose(again, said.scores, rtol=1e-5, atol=1e-6)


def test_what_is_cut_is_in_the_record_and_in_the_card(recipe: Callable[..., Recipe], tmp_path: Path) -> None:
    chosen = recipe("full", cut="both", max_length=8, epochs=1)
    chosen = chosen.model_copy(update={"data": chosen.data.model_copy(update={"test_share": 0.6})})
    record = run(chosen, tmp_path / "run", folder=tmp_path)
    first = record.warnings[0]
    assert " of train are longer than 8 tokens and were cut; " in first and first.endswith(" in their middles are lost")
    (effect,) = (line for line in record.warnings if line.startswith("test: f1_macro is "))
    card = (tmp_path / "run" / "model" / "README.md").read_text()
    assert effect.replace("_", "\\_") in card and "`tunewise.load` below cuts as in training" in card
    assert load(tmp_path / "run")._net.kept == "both"
    again = load_recipe(tmp_path / "run" / "recipe.yaml")
    assert again.train.cut == "both" and again.fingerprint == record.tuned["recipe"]


def test_windows_are_in_the_record_and_in_what_is_handed_over(recipe: Callable[..., Recipe], tmp_path: Path) -> None:
    chosen = recipe("lora", cut="chunks", chunk_stride=1, max_length=6, epochs=1)
    record = run(chosen, tmp_path / "run", folder=tmp_path)
    assert " of train are longer than 6 tokens and are read in " in record.warnings[0]
    said = read_predictions(tmp_path / "run", "test")
    with (tmp_path / "classification.csv").open(newline="", encoding="utf-8") as file:
        texts = [row["message"] for row in csv.DictReader(file)]
    again = load(tmp_path / "run")
    np.testing.assert_allclose(again.scores([texts[row - 1] for row in said.rows]), said.scores, rtol=1e-5, atol=1e-6)
    assert again._net.kept == Chunks(stride=1)
    assert "windows over all of it" in (tmp_path / "run" / "model" / "README.md").read_text()
    assert load_recipe(tmp_path / "run" / "recipe.yaml").train == chosen.train


def test_stopped_and_resumed_is_uninterrupted(recipe: Callable[..., Recipe], tmp_path: Path) -> None:
    chosen = recipe("full", dropout=0.2, save_steps=4, epochs=3)
    whole = run(chosen, tmp_path / "whole", folder=tmp_path)
    out = tmp_path / "stopped"
    for step in (5, 11):
        with pytest.raises(Interrupted):
            run(chosen, out, folder=tmp_path, observers=[SignalAt(step)], resume=step > 5)
        stopped = read_record(out)
        assert (stopped.status, stopped.error.what) == ("interrupted", "stopped by the user")
        assert timeless(out)[-1] == {"event": "finished", "step": step, "status": "interrupted"}
    resumed = run(chosen, out, folder=tmp_path, resume=True)
    assert (resumed.id, resumed.created) == (stopped.id, stopped.created) != (whole.id, whole.created)
    assert same_result(resumed, whole)
    assert weights(out) == weights(tmp_path / "whole")
    assert timeless(out) == timeless(tmp_path / "whole")
    assert resumed.costs.train_seconds > 0 and not (out / "checkpoints").exists()


def test_stopped_in_evaluation(recipe: Callable[..., Recipe], tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    chosen = recipe("full", save_steps=4)
    whole = run(chosen, tmp_path / "whole", folder=tmp_path)
    real = evaluation.to_predictions

    def stopped(*args: Any) -> Any:
        os.kill(os.getpid(), signal.SIGINT)
        return real(*args)

    monkeypatch.setattr(evaluation, "to_predictions", stopped)
    with pytest.raises(Interrupted):
        run(chosen, tmp_path / "out", folder=tmp_path)
    monkeypatch.undo()
    assert not (tmp_path / "out" / "model").exists()
    assert same_result(run(chosen, tmp_path / "out", folder=tmp_path, resume=True), whole)
    assert weights(tmp_path / "out") == weights(tmp_path / "whole")


def test_a_failed_run_says_why(recipe: Callable[..., Recipe], tmp_path: Path) -> None:
    out = tmp_path / "run"
    with pytest.raises(NonFiniteError):
        run(recipe("full", learning_rate=1e30, warmup=0, max_grad_norm=0), out, folder=tmp_path)
    record = read_record(out)
    assert record.status == "failed" and record.scores == {} and record.costs is None
    assert "the weights were not updated" in record.error.what or "NaN" in record.error.what
    assert record.error.where.startswith("row") and record.error.fix
    assert timeless(out)[-1]["status"] == "failed"


def test_an_error_that_is_not_ours_is_kept_too(
    recipe: Callable[..., Recipe], tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr("tunewise.run.evaluate", lambda *_: 1 / 0)
    with pytest.raises(ZeroDivisionError):
        run(recipe("head"), tmp_path / "run", folder=tmp_path)
    assert read_record(tmp_path / "run").error.what == "ZeroDivisionError: division by zero"


def test_a_finished_run_is_returned_as_it_is(recipe: Callable[..., Recipe], tmp_path: Path) -> None:
    chosen, out = recipe("head", epochs=1), tmp_path / "run"
    record = run(chosen, out, folder=tmp_path)
    (out / "checkpoints").mkdir()  # left where the process was killed at the very end
    before = {path: path.stat().st_mtime_ns for path in out.rglob("*") if path.is_file() and path.name != ".lock"}
    assert run(chosen, out, folder=tmp_path, resume=True).as_dict() == json.loads(json.dumps(record.as_dict()))
    after = {path: path.stat().st_mtime_ns for path in out.rglob("*") if path.is_file() and path.name != ".lock"}
    assert before == after and not (out / "checkpoints").exists()
    with pytest.raises(StoreError, match=r"there is a run in this folder already \(finished\)") as caught:
        run(chosen, out, folder=tmp_path)
    assert "--resume" in caught.value.fix
    with pytest.raises(RecipeError, match="begun with another recipe"):
        run(recipe("head", epochs=2), out, folder=tmp_path, resume=True)
    verify(out / "model")


def test_folders_that_are_taken(recipe: Callable[..., Recipe], tmp_path: Path) -> None:
    out = tmp_path / "run"
    out.mkdir()
    (out / "thesis.docx").write_text("mine")
    for resume in (False, True):
        with pytest.raises(StoreError, match=r"not empty \(thesis.docx\), and is not a run of tunewise"):
            run(recipe("head"), out, folder=tmp_path, resume=resume)
    assert (out / "thesis.docx").read_text() == "mine"
    with lock(tmp_path / "other"), pytest.raises(LockedError, match=f"process {os.getpid()} "):
        run(recipe("head"), tmp_path / "other", folder=tmp_path)


@pytest.mark.parametrize("method", ["full", "head", "lora", "prefix_tuning", "features"])
def test_attention_of_prediction_leaves_training_alone(
    method: str, recipe: Callable[..., Recipe], tmp_path: Path
) -> None:
    records = [
        run(recipe(method), tmp_path / name, folder=tmp_path, tuned=Tuned("cpu", "fp32", 1, "eager", name))
        for name in ("eager", "sdpa")
    ]
    assert weights(tmp_path / "eager") == weights(tmp_path / "sdpa") and records[0].curve == records[1].curve
    first, second = ({name: score.value for name, score in each.scores["test"].items()} for each in records)
    assert second == pytest.approx(first, abs=1e-5)
    scores = [read_predictions(tmp_path / name, "test").scores for name in ("eager", "sdpa")]
    np.testing.assert_allclose(*scores, atol=1e-5)


def test_attention_of_training_and_of_prediction(recipe: Callable[..., Recipe], tmp_path: Path) -> None:
    """What is fitted to the machine changes the seconds, not the scores, and not what is handed over."""
    plain, fused = Tuned("cpu", "fp32", 1, "eager", "eager"), Tuned("cpu", "fp32", 1, "sdpa", "eager")
    records = [
        run(recipe("full", dropout=0.0), tmp_path / name, folder=tmp_path, tuned=tuned)
        for name, tuned in (("plain", plain), ("fused", fused))
    ]
    first, second = ({name: score.value for name, score in each.scores["test"].items()} for each in records)
    assert second == pytest.approx(first, abs=1e-4)
    assert records[1].tuned["attention"] == "sdpa" and records[1].tuned["attention_prediction"] == "eager"
    config = [(tmp_path / name / "model" / "config.json").read_text() for name in ("plain", "fused")]
    assert config[0] == config[1] and "sdpa" not in config[0] and "eager" not in config[0]


def test_a_run_begun_before_attention_was_measured_goes_on(recipe: Callable[..., Recipe], tmp_path: Path) -> None:
    out = tmp_path / "run"
    out.mkdir()
    (out / "tuned.json").write_text(sealed({"device": "cpu", "precision": "fp32", "threads": 1}))
    record = run(recipe("head"), out, folder=tmp_path, resume=True, tuned=Tuned("cpu", "bf16", 1, "sdpa", "sdpa"))
    told = {key: value for key, value in record.tuned.items() if key != "recipe"}
    assert told == Tuned("cpu", "fp32", 1, "eager", "eager").as_dict()


CHILD = """
import sys, time
from pathlib import Path
from tunewise.engine.events import Observer
from tunewise.recipe import load_recipe
from tunewise.run import run

class Slow(Observer):
    def on_step(self, event):
        time.sleep(0.05)

run(load_recipe(sys.argv[1]), Path(sys.argv[2]), folder=Path(sys.argv[3]), observers=[Slow()])
"""


@pytest.mark.skipif(os.name == "nt", reason="signals of POSIX")
def test_ctrl_c_in_another_process_and_resumed_here(
    recipe: Callable[..., Recipe], tmp_path: Path, tiny_model: Callable[..., Path]
) -> None:
    """Another process, working folder and hash seed: stopped there and resumed here, the weights are the same."""
    from tunewise.recipe import write_recipe

    chosen = recipe({"lora": {"dropout": 0.1}}, dropout=0.1, epochs=6, save_steps=12).anchored(tmp_path)
    whole = run(chosen, tmp_path / "whole", folder=tmp_path)
    (tmp_path / "recipe.yaml").write_text(write_recipe(chosen))
    (tmp_path / "elsewhere").mkdir()
    out = tmp_path / "stopped"
    source = str(Path(__file__).resolve().parents[1])
    environment = {**os.environ, "PYTHONHASHSEED": "123", "PYTHONPATH": source}
    command = [sys.executable, "-c", CHILD, str(tmp_path / "recipe.yaml"), str(out), str(tmp_path)]
    child = subprocess.Popen(command, cwd=tmp_path / "elsewhere", env=environment, stderr=subprocess.PIPE, text=True)
    try:
        deadline = time.monotonic() + 120
        while not (out / "log.jsonl").is_file() or '"step": 5' not in (out / "log.jsonl").read_text():
            assert child.poll() is None and time.monotonic() < deadline, child.communicate()[1]
            time.sleep(0.02)
        child.send_signal(signal.SIGINT)
        _, told = child.communicate(timeout=60)
    finally:
        child.kill()
    assert child.returncode == 1 and "tunewise.errors.Interrupted: stopped by the user" in told
    stopped = read_record(out)
    assert stopped.status == "interrupted" and list((out / "checkpoints").glob("step-*"))
    resumed = run(chosen, out, folder=tmp_path, resume=True)
    assert weights(out) == weights(tmp_path / "whole")
    assert same_result(resumed, whole)
    assert timeless(out) == timeless(tmp_path / "whole")
