"""Wrong input: a clear error in seconds, before weights load or anything heavy is imported, without a traceback."""

from __future__ import annotations

import subprocess
import sys
import time
from pathlib import Path

import pytest

HEAVY = ("torch", "transformers", "peft", "datasets", "sklearn", "pandas", "plotly")


def wrong(tmp_path: Path, **kind: str):
    return {
        "missing column": (
            {"data": {"train": kind["tickets"], "text": "mesage", "label": "intent"}},
            ["mesage", "message"],
        ),
        "unknown method": ({"methods": ["lorra"]}, ["lorra", "lora"]),
        "unknown key": ({"train": {"epoch": 3}}, ["epoch", "epochs"]),
        "single class": (
            {"data": {"train": _file(tmp_path, "one.csv", "message,intent\na b,x\nc d,x\ne f,x\n"), "label": "intent"}},
            ["x"],
        ),
        "empty file": ({"data": {"train": _file(tmp_path, "empty.csv", ""), "label": "intent"}}, ["empty"]),
        "no such file": ({"data": {"train": "tikets.csv", "label": "intent"}}, ["tikets.csv"]),
        "not a model": ({"model": str(tmp_path)}, ["config.json"]),
        "no such model": ({"model": "./no/such/folder/at/all"}, ["no/such/folder"]),
        "unknown metric": ({"metric": "f1_makro"}, ["f1_makro", "f1_macro"]),
        "code not allowed": ({"evaluate": {"functions": ["m.py:f"]}}, ["--allow-code"]),
        "both epochs and steps": ({"train": {"epochs": 1, "max_steps": 2}}, ["max_steps"]),
        "too many blocks asked for": ({"methods": [{"last_k": {"k": 0}}]}, ["k"]),
    }


def _file(folder: Path, name: str, text: str) -> str:
    (folder / name).write_text(text)
    return str(folder / name)


CASES = (
    "missing column",
    "unknown method",
    "unknown key",
    "single class",
    "empty file",
    "no such file",
    "not a model",
    "no such model",
    "unknown metric",
    "code not allowed",
    "both epochs and steps",
    "too many blocks asked for",
)


@pytest.mark.parametrize("case", CASES)
@pytest.mark.parametrize("command", ["compare", "train"])
def test_is_told_clearly(case: str, command: str, recipe, tickets: Path, tunewise, tmp_path: Path) -> None:
    sections, words = wrong(tmp_path, tickets=str(tickets))[case]
    start = time.monotonic()
    extra = ["--method", "head"] if command == "train" and "methods" not in sections else []
    result = tunewise(command, recipe(**sections), "--out", tmp_path / "out", *extra)
    assert result.exit_code == 2, result.output
    assert time.monotonic() - start < 5
    assert result.stderr.startswith("error: ") and "Traceback" not in result.output
    assert all(word in result.stderr for word in words), result.stderr
    assert not (tmp_path / "out").exists()


def test_nothing_heavy_is_imported_before_the_error(recipe, tmp_path: Path) -> None:
    path = recipe(data={"train": "nowhere.csv", "label": "intent"})
    code = (
        "import sys\nfrom typer.testing import CliRunner\nfrom tunewise.cli.main import app\n"
        f"for command in (['compare'], ['train', '--method', 'lora']):\n"
        f"    result = CliRunner().invoke(app, [command[0], {str(path)!r}, '--out', 'o', *command[1:]])\n"
        "    assert result.exit_code == 2, result.output\n"
        f"print([name for name in {HEAVY!r} if name in sys.modules])"
    )
    done = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True, timeout=60, cwd=tmp_path)
    assert done.stdout.strip() == "[]", done.stdout + done.stderr


def test_help_imports_next_to_nothing() -> None:
    """The promise is half a second; a timed test would measure the machine, so what is imported is checked."""
    code = (
        "import sys, tunewise.cli.main\n"
        "print(sorted(m for m in sys.modules if m.partition('.')[0] in sys.argv[1].split(',')))"
    )
    names = ",".join((*HEAVY, "numpy", "pydantic", "yaml", "scipy", "pyarrow"))
    done = subprocess.run([sys.executable, "-c", code, names], capture_output=True, text=True, timeout=60)
    assert done.stdout.strip() == "[]", done.stdout + done.stderr


@pytest.mark.parametrize(
    "arguments",
    [
        ["predict", "nowhere", "--text", "x"],
        ["evaluate", "nowhere", "--data", "x.csv"],
        ["runs", "--out", "nowhere"],
        ["init", "nowhere.csv"],
    ],
)
def test_other_commands_name_what_is_not_there(arguments: list[str], tunewise, tmp_path: Path, monkeypatch) -> None:
    monkeypatch.chdir(tmp_path)
    result = tunewise(*arguments)
    assert result.exit_code in (1, 2) and "nowhere" in result.stderr and "to do" in result.stderr


def test_user_text_cannot_move_the_cursor(recipe, tunewise, tmp_path: Path) -> None:
    path = recipe(metric="\x1b[2Jf1")
    result = tunewise("compare", path, "--out", tmp_path / "out")
    assert result.exit_code == 2 and "\x1b" not in result.stderr
