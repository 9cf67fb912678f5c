"""Ctrl-C and SIGTERM in every phase of a run: it leaves within a second or so, and resumed it is the run that never
was interrupted."""

from __future__ import annotations

import importlib
import os
import signal
import time
from collections.abc import Callable
from dataclasses import dataclass
from multiprocessing.connection import Connection
from pathlib import Path
from typing import Any

import pytest

from tunewise.comparison.imports import CORE
from tunewise.comparison.schedule import Pool
from tunewise.recipe import Recipe, write_recipe
from tunewise.run import run
from tunewise.tracking.record import RECORD, read_record
from tunewise.verification.evidence import differences, evidence_of, leftovers_in

pytestmark = pytest.mark.skipif(os.name == "nt", reason="signals of POSIX")

# Phase -> (module, name): the function in which the signal comes; and whether what it does then takes for ever.
PLACES = {
    "reading the data": ("tunewise.api", "check", True),
    "loading the model": ("tunewise.run", "load_net", True),
    "tokenising": ("tunewise.engine.train", "encode", True),
    "filling the cache": ("tunewise.engine.prefix", "write_states", True),
    "training": ("tunewise.engine.loop", "Training._step", False),
    "validating": ("tunewise.engine.train", "predict_logits", False),
    "saving": ("tunewise.engine.loop", "save_checkpoint", False),
    "evaluating": ("tunewise.run", "evaluate", True),
    "exporting": ("tunewise.run", "save_model", True),
}
SIGNALS = {phase: (signal.SIGTERM, signal.SIGINT)[number % 2] for number, phase in enumerate(PLACES)}
PACKAGES = (*CORE, "transformers.models.bert.modeling_bert")
WHOLE: dict[str, dict[str, str]] = {}
BEFORE_TRAINING = ("loading the model", "tokenising", "filling the cache")


@dataclass(frozen=True)
class Command:
    """`tunewise ...` with these arguments and this cache; it gets a signal in a phase. What it prints goes to
    `printed`."""

    arguments: tuple[str, ...]
    phase: str
    printed: str
    cache: str


def carry_out(command: Command, pipe: Connection) -> None:
    """In a process of its own: sends when the signal came."""
    from tunewise.cli.main import app

    descriptor = os.open(command.printed, os.O_WRONLY | os.O_CREAT)
    os.dup2(descriptor, 1)
    os.dup2(descriptor, 2)
    os.environ["TUNEWISE_CACHE"] = command.cache
    module, name, endless = PLACES[command.phase]
    holder: Any = importlib.import_module(module)
    *owners, name = name.split(".")
    for owner in owners:
        holder = getattr(holder, owner)
    original, calls = getattr(holder, name), []

    def interrupted(*arguments: Any, **options: Any) -> Any:
        calls.append(name)
        if len(calls) == (1 if endless else 3):
            pipe.send(time.monotonic())
            os.kill(os.getpid(), SIGNALS[command.phase])
            while endless:
                time.sleep(0.05)
        return original(*arguments, **options)

    setattr(holder, name, interrupted)
    app(list(command.arguments))


@pytest.fixture
def whole(recipe: Callable[..., Recipe], tmp_path: Path) -> Callable[..., tuple[Recipe, dict[str, str]]]:
    """A recipe, and what its uninterrupted run leaves, however often that saves."""

    def make(method: str, save_steps: int) -> tuple[Recipe, dict[str, str]]:
        if method not in WHOLE:
            run(recipe(method), tmp_path / "whole", folder=tmp_path)
            WHOLE[method] = evidence_of(tmp_path / "whole")
        return recipe(method, save_steps=save_steps), WHOLE[method]

    return make


@pytest.mark.parametrize("phase", PLACES)
def test_stopped_in_a_phase(phase: str, whole: Callable[..., tuple[Recipe, dict[str, str]]], tmp_path: Path) -> None:
    method = "head" if phase == "filling the cache" else "full"
    chosen, expected = whole(method, save_steps=1 if phase == "saving" else 5)
    (tmp_path / "recipe.yaml").write_text(write_recipe(chosen))
    out, printed = tmp_path / "stopped", tmp_path / "printed"
    arguments = ("train", str(tmp_path / "recipe.yaml"), "--out", str(out))
    worker = Pool(PACKAGES).start(0, carry_out, Command(arguments, phase, str(printed), str(tmp_path / "cache")))
    assert worker.pipe.poll(60), printed.read_text()
    signalled = worker.pipe.recv()
    worker.process.join(20)
    took, told = time.monotonic() - signalled, printed.read_text()
    worker.process.kill()
    assert worker.process.exitcode == 130, told
    assert took < 2.0 and "Traceback" not in told
    if phase == "reading the data":
        assert "stopped" in told and not out.exists()
    else:
        assert "error: stopped by the user" in told and "--resume" in told
        record = read_record(out)
        assert (record.status, record.error.what) == ("interrupted", "stopped by the user")
        assert (out / "checkpoints").is_dir() == (phase not in BEFORE_TRAINING)
        assert not leftovers_in(out)
    run(chosen, out, folder=tmp_path, resume=(out / RECORD).is_file())
    assert differences(expected, evidence_of(out)) == []
