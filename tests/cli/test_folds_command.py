"""`tunewise compare` with folds, end to end: interrupted, continued, joined, told; and what refuses folds."""

from __future__ import annotations

import json
import os
import re
import signal
from collections.abc import Callable
from pathlib import Path
from typing import Any

import numpy as np
import pytest
from sklearn.metrics import f1_score, roc_auc_score
from typer.testing import CliRunner

import tunewise as package
from tunewise.cli.main import app
from tunewise.cli.watching import Silent
from tunewise.comparison.compare import compare
from tunewise.data.prepare import prepare
from tunewise.errors import Interrupted
from tunewise.recipe import load_recipe
from tunewise.tracking.predictions import read_predictions

FOLDS, RUNS = 3, 3 * (2 + 2)
"""Two baselines and two methods with one seed."""


def call(*arguments: Any) -> Any:
    return CliRunner().invoke(app, [str(argument) for argument in arguments])


@pytest.fixture(scope="module")
def write(tickets: Path, tiny_bert: Path, tmp_path_factory: pytest.TempPathFactory) -> Callable[..., Path]:
    import yaml

    def recipe(data: dict[str, Any] | None = None, **sections: Any) -> Path:
        content = {
            "model": str(tiny_bert),
            "data": {"train": str(tickets), "text": "message", "label": "intent", "folds": FOLDS, **(data or {})},
            "methods": ["features", "full"],
            "train": {"max_steps": 4, "batch_size": 8, "threads": 1, "precision": "fp32"},
            "evaluate": {"resamples": 100},
            "seeds": 1,
        }
        path = tmp_path_factory.mktemp("recipe") / "recipe.yaml"
        path.write_text(yaml.safe_dump({**content, **sections}))
        return path

    return recipe


class Stopping(Silent):
    ended = 0

    def on_end(self, entry: Any, record: Any, seconds: float) -> None:
        self.ended += 1
        if self.ended == 7:
            os.kill(os.getpid(), signal.SIGINT)


def content_of(out: Path) -> dict[str, Any]:
    return json.loads((out / "comparison.json").read_text())


def records(out: Path) -> dict[str, int]:
    return {path.parent.name: path.stat().st_mtime_ns for path in out.glob("runs/*/record.json")}


@pytest.fixture(scope="module")
def done(write: Callable[..., Path], tmp_path_factory: pytest.TempPathFactory) -> tuple[Path, Path, Any]:
    """The recipe, the folder, and the result of the command that went on with what was interrupted."""
    path, out = write(), tmp_path_factory.mktemp("folds") / "out"
    with pytest.raises(Interrupted, match="finished runs are kept"):
        compare(load_recipe(path), out, folder=path.parent, watcher=Stopping())
    stopped, before = content_of(out), records(out)
    states = [run["status"] for run in stopped["runs"]]
    assert len(states) == RUNS and 7 <= states.count("finished") < RUNS
    # Of a method whose folds have not all finished nothing is said.
    by_name = {summary["name"]: summary for summary in stopped["summary"]}
    assert by_name["tfidf"]["mean"] is not None and by_name["full"]["mean"] is None
    kept = {run["folder"].partition("/")[2] for run in stopped["runs"] if run["status"] == "finished"}
    result = call("compare", path, "--out", out)
    assert result.exit_code == 0, result.output
    assert {name: records(out)[name] for name in kept} == {name: before[name] for name in kept}
    return path, out, result


def test_every_row_is_tested_once_and_the_scores_are_those_of_all_rows(done: tuple[Path, Path, Any]) -> None:
    _, out, _ = done
    content = content_of(out)
    assert [run["status"] for run in content["runs"]] == ["finished"] * RUNS
    assert content["folds"]["count"] == FOLDS and content["folds"]["rows"] == 90
    assert [sizes["test"] for sizes in content["folds"]["sizes"]] == [30, 30, 30]
    for summary in content["summary"]:
        runs = [run for run in content["runs"] if run["name"] == summary["name"]]
        assert [run["fold"] for run in runs] == [1, 2, 3]
        parts = [read_predictions(out / run["folder"], "test") for run in runs]
        rows = np.concatenate([part.rows for part in parts])
        assert sorted(rows.tolist()) == list(range(1, 91))
        targets, said = (np.concatenate([getattr(part, key) for part in parts]) for key in ("targets", "decisions"))
        assert summary["mean"] == pytest.approx(f1_score(targets, said, average="macro"))
        assert summary["scores"]["accuracy"]["mean"] == pytest.approx((targets == said).mean())
        areas = [roc_auc_score(part.targets, part.scores, multi_class="ovr") for part in parts]
        assert summary["scores"]["roc_auc"]["mean"] == pytest.approx(np.mean(areas))
        assert summary["validation_mean"] == pytest.approx(
            np.mean([r["validation"]["f1_macro"]["value"] for r in runs])
        )
        assert summary["low"] <= summary["mean"] <= summary["high"]
        assert summary["costs"]["train_seconds"] == pytest.approx(np.mean([r["costs"]["train_seconds"] for r in runs]))
        assert summary["seeds"] == [summary["mean"]]


def test_every_run_knows_its_fold_and_read_its_rows(done: tuple[Path, Path, Any], tmp_path: Path) -> None:
    path, out, _ = done
    data = load_recipe(path).data
    for run in content_of(out)["runs"]:
        record = json.loads((out / run["folder"] / "record.json").read_text())
        assert record["recipe"]["data"]["fold"] == run["fold"]
        fold = prepare(data.model_copy(update={"fold": run["fold"]}), path.parent)
        assert record["data"]["fingerprint"] == fold.fingerprint
    folder = out / "runs" / "full-fold2-seed0"
    assert call("train", folder / "recipe.yaml", "--out", tmp_path / "alone").exit_code == 0
    alone = json.loads((tmp_path / "alone" / "record.json").read_text())
    assert alone["scores"] == json.loads((folder / "record.json").read_text())["scores"]


def test_terminal_and_page_speak_of_folds(done: tuple[Path, Path, Any]) -> None:
    _, out, result = done
    told = re.sub(r"\s+", " ", result.stdout)
    assert "on all 90 rows, each tested once in 3 folds" in told and "per fold" in told
    assert "costs are those of one fold" in told
    assert "full, seed 0, fold 3:" in result.stderr and "this is fold 1" in result.stderr
    page = (out / "report.html").read_text()
    assert "90, each tested once in 3 folds" in page and "<th>Fold</th>" in page
    assert "<dt>test of a fold</dt><dd>30 rows</dd>" in page
    assert "means over folds" in page and "What was done and found is told of the first" in page
    listed = call("runs", "list", out, "--json")
    assert listed.exit_code == 0 and "features-fold3-seed0" in listed.stdout
    assert call("runs", "verify", out).exit_code == 0


def test_again_is_quick_and_other_data_is_refused(done: tuple[Path, Path, Any]) -> None:
    path, out, _ = done
    before, told = records(out), content_of(out)
    assert call("compare", path, "--out", out).exit_code == 0
    again = content_of(out)
    assert records(out) == before
    same = ("summary", "pairs", "recommendation", "folds", "data")
    assert {key: again[key] for key in same} == {key: told[key] for key in same}
    other = call("compare", path, "--out", out, "--set", "data.folds=2")
    assert other.exit_code != 0 and "another recipe" in other.stderr


@pytest.mark.slow
def test_rates_several_seeds_and_models_in_folds(write: Callable[..., Path], tmp_path: Path) -> None:
    path = write({"folds": 2}, methods=["head"], rate_grid=[1, 10], seeds=2)
    done = package.compare(path, tmp_path / "out", quiet=True)
    folders = sorted(run["folder"] for run in done.content["runs"] if run["kind"] == "method")
    assert len({folder.partition("-rate")[2].partition("-")[0] for folder in folders}) == 1
    assert len(folders) == 4 and len(done.content["rates"]) == 2
    on_disk = {place.parent.name for place in (tmp_path / "out").glob("runs/head*/record.json")}
    assert len(on_disk) == 5  # the other rate was tried on the first fold alone
    (head,) = [summary for summary in done.content["summary"] if summary["name"] == "head"]
    assert len(head["seeds"]) == 2 and head["sd"] == pytest.approx(np.std(head["seeds"], ddof=1))
    page = done.report.read_text()
    assert "first seed and fold" in page
    is_baseline = done.content["recommendation"]["kind"] == "baseline"
    assert ("To use it" in page) != is_baseline


@pytest.mark.slow
def test_an_estimate_counts_all_folds(write: Callable[..., Path]) -> None:
    whole = call("estimate", write(methods=["features"]), "--json")
    assert whole.exit_code == 0, whole.output
    assert json.loads(whole.stdout)["comparison"]["runs"] == FOLDS * 3


@pytest.mark.parametrize(
    ("arguments", "where"),
    [
        (("compare", "--set", "data.fold=2"), "data.fold"),
        (("estimate", "--set", "data.fold=2"), "data.fold"),
        (("compare", "--set", "data.folds=1"), "data.folds"),
        (("compare", "--set", "data.folds=21"), "data.folds"),
        (("compare", "--set", "data.test_share=0.3"), "data.test_share"),
        (("train", "--method", "full"), "data.folds"),
        (("curve",), "data.folds"),
    ],
)
def test_what_takes_no_folds_refuses_them(
    write: Callable[..., Path], tmp_path: Path, arguments: tuple[str, ...], where: str
) -> None:
    command, *options = arguments
    result = call(command, write(), "--out", tmp_path / "out", *options)
    assert result.exit_code == 2 and where in result.stderr and "to do:" in result.stderr, result.output
    assert not (tmp_path / "out").exists()


def test_a_check_looks_at_the_first_fold_and_training_without_folds_is_one_word_away(
    write: Callable[..., Path], tmp_path: Path
) -> None:
    path = write()
    checked = call("check", path, "--json")
    assert checked.exit_code == 0, checked.output
    looked_at = json.loads(checked.stdout)["overview"]
    assert [split["rows"] for split in looked_at["splits"]] == [46, 14, 30]
    assert any("this is fold 1" in step["reason"] for step in looked_at["steps"])
    trained = call("train", path, "--method", "full", "--set", "data.folds=null", "--out", tmp_path / "one")
    assert trained.exit_code == 0, trained.output
    assert json.loads((tmp_path / "one" / "record.json").read_text())["data"]["rows"]["test"] == 18
