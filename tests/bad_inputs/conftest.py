"""The desk on which bad input is put, and weights that nobody may read."""

from __future__ import annotations

from collections.abc import Callable
from pathlib import Path

import pytest
from case import WEIGHTS, Desk, rows
from typer.testing import CliRunner

from tunewise.cli.main import app
from tunewise.errors import TunewiseError


@pytest.fixture
def desk(tmp_path: Path, tiny_bert: Path, finished_run: Callable[[], Path]) -> Desk:
    return Desk(tmp_path, tiny_bert, finished_run)


@pytest.fixture(scope="session")
def finished_run(tmp_path_factory: pytest.TempPathFactory, tiny_bert: Path) -> Callable[[], Path]:
    """The folder of a run with LoRA, trained when it is first asked for."""
    made: list[Path] = []

    def make() -> Path:
        if not made:
            folder = tmp_path_factory.mktemp("finished")
            desk = Desk(folder, tiny_bert, make)
            arguments = desk.train(rows(), method={"lora": {"rank": 2}})[:2]
            done = CliRunner().invoke(app, [*arguments, "--out", str(folder / "run")])
            assert done.exit_code == 0, done.output
            made.append(folder / "run")
        return made[0]

    return make


@pytest.fixture
def no_weights(monkeypatch: pytest.MonkeyPatch) -> None:
    """Whoever begins to read the weights of a model fails with the error `WEIGHTS`."""

    def read(*arguments: object, **options: object) -> None:
        raise TunewiseError(WEIGHTS.removeprefix("error: ").strip())

    import tunewise.run

    monkeypatch.setattr(tunewise.run, "load_net", read)
    monkeypatch.setattr("safetensors.torch.load_file", read)
    monkeypatch.setattr("safetensors.safe_open", read)
