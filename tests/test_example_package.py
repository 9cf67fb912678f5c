"""The example package as a third party would have it: installed, listed, trained, resumed, compared, and loaded."""

from __future__ import annotations

import json
import os
import shutil
import subprocess
import sys
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any

import pytest

ROOT = Path(__file__).parent.parent
EXAMPLE = ROOT / "examples" / "tunewise-ssf"

ROWS = "".join(
    f"{word} please {n},{label}\n" for n in range(15) for word, label in (("money", "refund"), ("parcel", "delivery"))
)

# Everything in one process, since importing torch takes longer than all the rest.
SCRIPT = """
import json, signal, sys
from pathlib import Path
from typer.testing import CliRunner
import tunewise
from tunewise.api import choose
from tunewise.check import only_choice
from tunewise.cli.main import app
from tunewise.engine.events import Observer
from tunewise.errors import Interrupted
from tunewise.recipe import load_recipe
from tunewise.run import run

class StopAt3(Observer):
    def on_step(self, event):
        if event.step == 3:
            signal.raise_signal(signal.SIGINT)

said = {}
def call(name, *arguments):
    result = CliRunner().invoke(app, list(arguments))
    said[name] = {"code": result.exit_code, "out": result.stdout, "err": result.stderr}

call("listed", "methods", "ssf", "--json")
call("wrong option", "train", "recipe.yaml", "--method", "ssf", "--out", "wrong", "--set", "method.ssf.shfit=true")
call("train", "train", "recipe.yaml", "--method", "ssf", "--out", "whole")
try:
    run(only_choice(choose(load_recipe("recipe.yaml"), "ssf")), Path("parts"), folder=Path.cwd(), observers=[StopAt3()])
except Interrupted:
    said["stopped"] = True
call("resume", "train", "recipe.yaml", "--method", "ssf", "--out", "parts", "--resume")
call("compare", "compare", "recipe.yaml", "--out", "both", "--set", "methods=[full, ssf]", "--set", "seeds=1")
call("predict", "predict", "whole", "--text", "money")
said["probabilities"] = tunewise.load("parts").predict(["money"])[0]["probabilities"]
call("conformance", "conformance", "--method", "ssf", "--model", "gpt2", "--model", "resnet", "--json")
Path("said.json").write_text(json.dumps(said))
"""


@pytest.fixture(scope="module")
def site(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """A folder with the package in it, built from a copy, as building leaves files behind."""
    folder = tmp_path_factory.mktemp("example")
    shutil.copytree(EXAMPLE, folder / "source")
    options = ("--quiet", "--no-deps", "--no-build-isolation", "--no-index", "--disable-pip-version-check")
    command = [sys.executable, "-m", "pip", "install", *options, "--target", folder / "site", "./source"]
    done = subprocess.run(command, cwd=folder, capture_output=True, text=True)
    assert done.returncode == 0, done.stderr
    return folder / "site"


@pytest.fixture(scope="module")
def desk(site: Path, tiny_model: Callable[..., Path]) -> Iterator[Callable[..., Any]]:
    """Runs Python with the package on its path, in a folder with a recipe; has `folder`."""
    folder = site.parent / "desk"
    folder.mkdir()
    (folder / "data.csv").write_text("message,intent\n" + ROWS)
    train = "{max_steps: 6, batch_size: 8, threads: 1, precision: fp32, save_steps: 2}"
    (folder / "recipe.yaml").write_text(
        f"model: {tiny_model('bert', 2)}\ndata: {{train: data.csv, text: message, label: intent}}\n"
        f"train: {train}\nevaluate: {{resamples: 100}}\n"
    )

    def python(*arguments: str) -> subprocess.CompletedProcess[str]:
        path = os.pathsep.join(filter(None, [str(site), os.environ.get("PYTHONPATH")]))
        env = {**os.environ, "PYTHONPATH": path}
        return subprocess.run([sys.executable, *arguments], cwd=folder, env=env, capture_output=True, text=True)

    python.folder = folder
    return python


@pytest.fixture(scope="module")
def said(desk: Any) -> dict[str, Any]:
    done = desk("-c", SCRIPT)
    assert done.returncode == 0, done.stderr
    return json.loads((desk.folder / "said.json").read_text())


def test_it_is_listed_with_its_package(said: dict[str, Any]) -> None:
    (described,) = json.loads(said["listed"]["out"])
    assert (described["name"], described["group"], described["package"]) == ("ssf", "additive", "tunewise-ssf 0.1")
    assert "shift" in {option["path"] for option in described["options"]} and described["support"] == {}


def test_a_wrong_option_is_told_as_for_our_own_methods(said: dict[str, Any]) -> None:
    told = said["wrong option"]
    assert told["code"] == 2 and told["err"].startswith("error: --set method.ssf.shfit=true: ")
    assert "there is no such key" in told["err"] and "did you mean `shift`?" in told["err"]


def test_it_trains_and_its_record_names_the_package(said: dict[str, Any], desk: Any) -> None:
    assert said["train"]["code"] == 0, said["train"]["err"]
    record = json.loads((desk.folder / "whole/record.json").read_text())
    assert (record["status"], record["method"]) == ("finished", "ssf")
    assert record["environment"]["packages"]["tunewise-ssf"] == "0.1"
    (insert,) = record["plans"][0]["inserts"]
    assert insert["build"] == "tunewise_ssf:with_scale_and_shift" and len(insert["where"]) == 2 * 6
    # Per block 4 x 32 features in attention, 64 and 32 in feed-forward, twice; the head: pooler 32 x 33, 2 outputs.
    assert record["costs"]["trainable_parameters"] == 2 * 2 * (4 * 32 + 64 + 32) + 32 * 33 + 2 * 33
    assert "tunewise-ssf 0.1" in (desk.folder / "whole/model/README.md").read_text().replace("\\", "")


def test_stopped_and_resumed_it_is_the_same(said: dict[str, Any], desk: Any) -> None:
    assert said["stopped"] and said["resume"]["code"] == 0, said["resume"]["err"]
    whole, parts = ((desk.folder / name / "model/tunewise.safetensors").read_bytes() for name in ("whole", "parts"))
    assert whole == parts


def test_it_is_compared(said: dict[str, Any], desk: Any) -> None:
    assert said["compare"]["code"] == 0, said["compare"]["err"]
    content = json.loads((desk.folder / "both/comparison.json").read_text())
    assert {run["method"]: run["status"] for run in content["runs"] if run["kind"] == "method"} == {
        "full": "finished",
        "ssf": "finished",
    }
    assert "a scale and a shift for each feature" in (desk.folder / "both/report.html").read_text()


def test_its_model_predicts(said: dict[str, Any]) -> None:
    assert said["predict"]["code"] == 0, said["predict"]["err"]
    label, *shown = said["predict"]["out"].splitlines()
    assert label == max(said["probabilities"], key=said["probabilities"].get) and len(shown) == 2


def test_it_passes_the_conformance_suite(said: dict[str, Any]) -> None:
    assert said["conformance"]["code"] == 0, said["conformance"]["out"]
    assert [pair["status"] for pair in json.loads(said["conformance"]["out"])["pairs"]] == ["works"] * 2


def test_without_the_package_the_method_and_its_models_say_so(said: dict[str, Any], desk: Any) -> None:
    assert said["train"]["code"] == 0
    code = (
        "import tunewise\nfrom tunewise.errors import TunewiseError\n"
        "for call in (lambda: tunewise.load('whole'), lambda: tunewise.train('recipe.yaml', 'x', method='ssf')):\n"
        "    try:\n        call()\n    except TunewiseError as problem:\n        print(problem)\n"
    )
    done = subprocess.run([sys.executable, "-c", code], cwd=desk.folder, capture_output=True, text=True)
    assert "install the package of the method that made this model" in done.stdout, done.stderr
    assert "there is no method 'ssf'" in done.stdout


def test_a_broken_package_is_told_once_and_breaks_nothing(desk: Any, tmp_path: Path) -> None:
    info = tmp_path / "broken-1.0.dist-info"
    info.mkdir()
    (info / "METADATA").write_text("Metadata-Version: 2.1\nName: broken\nVersion: 1.0\n")
    (info / "entry_points.txt").write_text("[tunewise.methods]\nbad = nonsuch_module:Bad\n")
    code = f"import sys; sys.path.insert(0, {str(tmp_path)!r}); from tunewise.cli.main import app; app()"
    listed = desk("-c", code, "methods", "ssf")
    assert listed.returncode == 0 and listed.stdout.startswith("ssf: ")
    assert listed.stderr.strip() == (
        "warning: the method 'bad' of broken 1.0 is left out: nonsuch_module:Bad cannot be imported "
        "(ModuleNotFoundError: No module named 'nonsuch_module')"
    )
    used = desk("-c", code, "train", "recipe.yaml", "--method", "bad", "--out", "bad")
    assert used.returncode == 2 and "error: the method 'bad' of broken 1.0 is left out" in used.stderr


def test_its_page_shows_the_files_as_they_are() -> None:
    page = (EXAMPLE / "README.md").read_text()
    for block in (part.split("\n", 1)[1] for part in page.split("```")[1::2]):
        assert block.strip() in (EXAMPLE / "pyproject.toml").read_text()
    assert len((EXAMPLE / "tunewise_ssf.py").read_text().splitlines()) < 80
