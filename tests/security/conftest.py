"""A recipe on a folder, a run to spoil, and a wire that nobody may use."""

from __future__ import annotations

import json
import shutil
import socket
import sys
from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest
from typer.testing import CliRunner

from tunewise.cli.main import app

sys.path.append(str(Path(__file__).parents[1] / "report"))  # its samples of comparisons


@pytest.fixture
def no_network(monkeypatch: pytest.MonkeyPatch) -> list[Any]:
    """Every attempt to reach another machine, which also fails."""
    tried: list[Any] = []

    def refuse(*arguments: Any, **options: Any) -> None:
        tried.append(arguments)
        raise OSError("the test has no network")

    monkeypatch.setattr(socket, "getaddrinfo", refuse)
    monkeypatch.setattr(socket.socket, "connect", refuse)
    monkeypatch.setenv("HF_HUB_OFFLINE", "0")
    monkeypatch.setattr("huggingface_hub.constants.HF_HUB_OFFLINE", False)
    return tried


def write_recipe(folder: Path, model: Path, **sections: Any) -> Path:
    rows = [f"the {('good', 'bad')[number % 2]} message {number},{('yes', 'no')[number % 2]}" for number in range(30)]
    (folder / "data.csv").write_text("text,label\n" + "\n".join(rows) + "\n")
    whole = {
        "model": str(model),
        "data": {"train": "data.csv", "text": "text", "label": "label"},
        "train": {"max_steps": 1, "batch_size": 8, "threads": 1, "precision": "fp32"},
        "evaluate": {"resamples": 100},
        **sections,
    }
    (folder / "recipe.yaml").write_text(json.dumps(whole))
    return folder / "recipe.yaml"


@pytest.fixture
def recipe(tmp_path: Path) -> Callable[..., Path]:
    """`recipe(model, **sections)`: the path of a recipe with sound data."""
    return lambda model, **sections: write_recipe(tmp_path, model, **sections)


@pytest.fixture(scope="session")
def sound_run(tmp_path_factory: pytest.TempPathFactory, tiny_model: Callable[..., Path]) -> Path:
    """The folder of a run with LoRA."""
    folder = tmp_path_factory.mktemp("sound")
    path = write_recipe(folder, tiny_model("bert", 2), method={"lora": {"rank": 2}})
    done = CliRunner().invoke(app, ["train", str(path), "--out", str(folder / "run")])
    assert done.exit_code == 0, done.output
    return folder / "run"


@pytest.fixture
def run(sound_run: Path, tmp_path: Path) -> Path:
    """A copy of it to do harm to."""
    return Path(shutil.copytree(sound_run, tmp_path / "run"))


@pytest.fixture
def tunewise() -> Callable[..., Any]:
    """Runs a command in this process: has exit_code, stdout, stderr."""
    return lambda *arguments: CliRunner().invoke(app, [str(argument) for argument in arguments])
