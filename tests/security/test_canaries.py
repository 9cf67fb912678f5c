"""What would run code in a careless tool is refused, or never opened: by every command, and under `python -O` too."""

from __future__ import annotations

import json
import os
import pickle
import runpy
import shutil
import subprocess
import sys
from collections.abc import Callable
from pathlib import Path
from typing import Any

import jinja2
import pytest
from canaries import (
    ADAPTERS,
    MODELS,
    TOKENIZER_CODE,
    Artefact,
    code,
    plan_with,
    put_pickle,
    seal_again,
    template,
)

import tunewise as package
from tunewise.errors import TunewiseError


def named(artefact: Artefact) -> str:
    return artefact.name


@pytest.fixture
def canary(tmp_path: Path) -> Path:
    return tmp_path / "canary"


def spoilt(artefact: Artefact, model: Path, folder: Path, canary: Path) -> Path:
    target = Path(shutil.copytree(model, folder / "model"))
    artefact.spoil(target, canary)
    return target


def test_the_canaries_sing_for_careless_tools(tmp_path: Path) -> None:
    """Else all tests below would prove nothing."""
    put_pickle("a.bin")(tmp_path, tmp_path / "first")
    pickle.loads((tmp_path / "a.bin").read_bytes())
    (tmp_path / "evil.py").write_text(code(tmp_path / "second"))
    runpy.run_path(str(tmp_path / "evil.py"))
    jinja2.Environment().from_string(template(tmp_path / "third")).render()
    assert all((tmp_path / name).is_dir() for name in ("first", "second", "third"))


@pytest.mark.parametrize("artefact", MODELS, ids=named)
def test_a_model_to_train(
    artefact: Artefact,
    canary: Path,
    tmp_path: Path,
    tiny_model: Callable[..., Path],
    recipe: Callable[..., Path],
    tunewise: Callable[..., Any],
    no_network: list[Any],
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    model = spoilt(artefact, tiny_model("bert", 2), tmp_path, canary)
    monkeypatch.syspath_prepend(str(model))  # as if the user stood in it
    monkeypatch.chdir(model)
    result = tunewise("train", recipe(model), "--method", "head", "--out", tmp_path / "out")
    assert not canary.exists() and no_network == []
    if artefact.told:
        assert result.exit_code == 2 and artefact.told in result.stderr.splitlines()[0], result.output
        assert not (tmp_path / "out").exists()
        return
    assert result.exit_code == 0, result.output
    saved = {path.name for path in (tmp_path / "out" / "model").rglob("*")}
    assert not saved & {"evil.py", "pytorch_model.bin", "training_args.bin", "optimizer.pt", "generate.py"}
    assert package.load(tmp_path / "out").predict(["the good message"])[0]["label"] in ("no", "yes")
    assert not canary.exists() and no_network == []


@pytest.mark.parametrize("command", ["compare", "estimate", "train", "verify resume"])
@pytest.mark.parametrize("artefact", [MODELS[0], MODELS[5], MODELS[11], MODELS[13]], ids=named)
def test_every_command_refuses_it(
    artefact: Artefact,
    command: str,
    canary: Path,
    tmp_path: Path,
    tiny_model: Callable[..., Path],
    recipe: Callable[..., Path],
    tunewise: Callable[..., Any],
) -> None:
    path = recipe(spoilt(artefact, tiny_model("bert", 2), tmp_path, canary), method="head")
    result = tunewise(*command.split(), path, "--out", tmp_path / "out")
    assert result.exit_code == 2 and artefact.told in result.stderr.splitlines()[0], result.output
    assert not canary.exists() and not (tmp_path / "out").exists()
    if not hasattr(package, command):
        return
    with pytest.raises(TunewiseError, match=r"pickle|safetensors|code of its own"):
        getattr(package, command)(path, tmp_path / "out", quiet=True)
    assert not canary.exists() and not (tmp_path / "out").exists()


@pytest.mark.parametrize("artefact", ADAPTERS, ids=named)
def test_a_run_to_predict_with(
    artefact: Artefact,
    canary: Path,
    run: Path,
    tunewise: Callable[..., Any],
    no_network: list[Any],
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    artefact.spoil(run / "model", canary)
    monkeypatch.syspath_prepend(str(run))
    monkeypatch.chdir(run)
    unsealed = tunewise("predict", run, "--text", "the good message")
    assert unsealed.exit_code == 1 and "manifest" not in unsealed.stdout, "the manifest tells of every change"
    seal_again(run / "model")
    result = tunewise("predict", run, "--text", "the good message")
    if artefact.told:
        assert result.exit_code in (1, 2) and artefact.told in result.stderr.splitlines()[0], result.output
        with pytest.raises(TunewiseError):
            package.load(run)
    else:
        assert result.exit_code == 0, result.output
    assert not canary.exists() and no_network == []


def test_a_plan_does_not_make_peft_ask_the_hub(
    canary: Path, run: Path, tunewise: Callable[..., Any], monkeypatch: pytest.MonkeyPatch
) -> None:
    from transformers import AutoTokenizer

    asked, real = [], AutoTokenizer.from_pretrained

    def from_pretrained(name: Any, *arguments: Any, **options: Any) -> Any:
        asked.append(str(name))
        return real(run / "model" if str(name) == "someone/tokenizer" else name, *arguments, **options)

    monkeypatch.setattr(AutoTokenizer, "from_pretrained", from_pretrained)
    options = {**TOKENIZER_CODE, "tokenizer_name_or_path": "someone/tokenizer"}
    plan_with(config="PromptTuningConfig", options=options)(run / "model", canary)
    seal_again(run / "model")
    assert tunewise("predict", run, "--text", "the good message").exit_code == 2
    assert "someone/tokenizer" not in asked
    monkeypatch.setattr("tunewise.engine.apply.refused_option", lambda kind, options: None)
    tunewise("predict", run, "--text", "the good message")
    assert "someone/tokenizer" in asked, "without the check it is asked for"


def test_only_data_is_fetched_from_the_hub() -> None:
    from fnmatch import fnmatch

    from tunewise.models.locate import HUB_FILES

    for name in ("modeling_evil.py", "pytorch_model.bin", "custom_generate/generate.py", "x.pt", "x.pkl", "a.so"):
        assert not any(fnmatch(name, pattern) for pattern in HUB_FILES)


def test_a_run_brings_no_metric_functions(
    canary: Path, run: Path, tmp_path: Path, tunewise: Callable[..., Any]
) -> None:
    from tunewise.commit import sealed

    record = json.loads((run / "record.json").read_text())
    record.pop("sha256")
    record["recipe"].setdefault("evaluate", {})["functions"] = ["evil.py:metric"]
    (run / "record.json").write_text(sealed(record))
    for folder in (run, Path.cwd(), tmp_path):
        if folder != Path.cwd():
            (folder / "evil.py").write_text(code(canary))
    (tmp_path / "new.csv").write_text("text,label\nthe good message,yes\nthe bad message,no\n")
    result = tunewise("evaluate", run, "--data", tmp_path / "new.csv")
    assert result.exit_code == 2 and "--allow-code" in result.stderr and not canary.exists()


CHILD = """
import json, sys
from pathlib import Path
from canaries import ADAPTERS, MODELS, seal_again
from conftest import write_recipe
from typer.testing import CliRunner
from tunewise.cli.main import app
import shutil
here, model, run = map(Path, sys.argv[1:4])
chosen = {"models": MODELS, "adapters": ADAPTERS}[sys.argv[4]]
assert False, "python -O does not see this"
said = {}
for number, artefact in enumerate(chosen):
    if not artefact.told:
        continue
    folder = here / str(number)
    if artefact in MODELS:
        target = Path(shutil.copytree(model, folder / "model"))
        artefact.spoil(target, here / "canary")
        command = ["train", str(write_recipe(folder, target)), "--method", "head", "--out", str(folder / "out")]
    else:
        target = Path(shutil.copytree(run, folder / "run"))
        artefact.spoil(target / "model", here / "canary")
        seal_again(target / "model")
        command = ["predict", str(target), "--text", "x"]
    result = CliRunner().invoke(app, command)
    said[artefact.name] = [result.exit_code, result.stderr + repr(result.exception)]
print(json.dumps(said))
"""


@pytest.mark.parametrize(
    ("artefacts", "named_as"),
    [(MODELS, "models"), pytest.param(ADAPTERS, "adapters", marks=pytest.mark.slow)],
    ids=["models", "adapters"],
)
def test_the_same_without_asserts(
    artefacts: tuple[Artefact, ...],
    named_as: str,
    tmp_path: Path,
    tiny_model: Callable[..., Path],
    sound_run: Path,
) -> None:
    here = Path(__file__).parent
    environment = {**os.environ, "PYTHONPATH": os.pathsep.join([str(here), str(here.parents[1])])}
    folders = [str(tmp_path), str(tiny_model("bert", 2)), str(sound_run)]
    command = [sys.executable, "-O", "-c", CHILD, *folders, named_as]
    done = subprocess.run(command, capture_output=True, text=True, timeout=180, env=environment, cwd=tmp_path)
    assert done.returncode == 0, done.stderr
    said = json.loads(done.stdout)
    refused = [artefact for artefact in artefacts if artefact.told]
    assert said.keys() == {artefact.name for artefact in refused} and len(refused) > 10
    for artefact in refused:
        exit_code, text = said[artefact.name]
        assert exit_code in (1, 2) and "error: " in text and artefact.told in text, (artefact.name, text)
    assert not (tmp_path / "canary").exists()
