"""`tunewise train` with `train.packing` and `train.gradient_checkpointing`: stopped and resumed, bit by bit."""

from __future__ import annotations

import json
import os
import signal
from collections.abc import Callable
from hashlib import sha256
from pathlib import Path
from typing import Any

import pytest
import yaml

from tunewise.conformance.language_models import make_language_folder
from tunewise.engine.loop import Training
from tunewise.tracking.jsonl_log import read_log

STEPS, STOPPED_AT = 5, 3
REWARD = "def shorter(prompts, completions, **columns):\n    return [-float(len(text)) for text in completions]\n"
AIMS: dict[str, Any] = {
    "sft": "sft",
    "dpo": "dpo",
    "grpo": {"grpo": {"reward": "judge.py:shorter", "samples": 3, "max_new_tokens": 5, "updates": 2}},
}


@pytest.fixture(scope="module")
def gpt2(tmp_path_factory: pytest.TempPathFactory) -> Path:
    return make_language_folder("gpt2", tmp_path_factory.mktemp("models"))


def rows(aim: str) -> list[dict[str, str]]:
    found = []
    for number in range(24):
        prompt = f"the order {'was late' if number % 2 else 'came'} {'today ' * (number % 5)}"
        good, bad = f" great{' service' * (number % 3)}", f" terrible{' refund' * (number % 4)}"
        row = {"sft": {"completion": good}, "dpo": {"chosen": good, "rejected": bad}, "grpo": {}}[aim]
        found.append({"prompt": prompt, **row})
    return found


def recipe(aim: str, model: Path, folder: Path, **train: Any) -> Path:
    (folder / "rows.jsonl").write_text("\n".join(json.dumps(row) for row in rows(aim)))
    (folder / "judge.py").write_text(REWARD)
    content = {
        "model": str(model),
        "method": "full",
        "data": {"train": "rows.jsonl"} | ({"task": "prompts"} if aim == "grpo" else {}),
        "objective": AIMS[aim],
        "train": {"max_steps": STEPS, "batch_size": 4, "threads": 1, "precision": "fp32", **train},
        "evaluate": {"resamples": 100, "generation": None},
    }
    (folder / "recipe.yaml").write_text(yaml.safe_dump(content))
    return folder / "recipe.yaml"


def digests(run: Path) -> dict[str, str]:
    """sha256 of every tensor file and prediction of a run."""
    wanted = [*run.glob("model/*.safetensors"), *run.glob("predictions/*")]
    return {str(path.relative_to(run)): sha256(path.read_bytes()).hexdigest() for path in wanted if path.is_file()}


def timeless(run: Path) -> list[dict[str, Any]]:
    events = [row for row in read_log(run / "log.jsonl") if row["event"] in ("step", "evaluated", "wrote")]
    return [{key: value for key, value in row.items() if key != "time"} for row in events]


PACKED, AGAIN = {"packing": True, "group_by_length": False}, {"gradient_checkpointing": True}
CASES = [
    pytest.param("sft", PACKED | AGAIN, id="sft"),
    pytest.param("dpo", PACKED | AGAIN | {"accumulate": 2}, id="dpo"),
    pytest.param("grpo", PACKED | AGAIN, id="grpo"),
    *(
        pytest.param(aim, given, id=f"{aim}-{next(iter(given))}", marks=pytest.mark.slow)
        for aim in ("sft", "dpo")
        for given in (PACKED, AGAIN)
    ),
]


@pytest.mark.parametrize(("aim", "settings"), CASES)
def test_interrupted_then_resumed_is_the_run_that_never_was(
    aim: str,
    settings: dict[str, Any],
    gpt2: Path,
    tunewise: Callable[..., Any],
    tmp_path: Path,
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    path, real = recipe(aim, gpt2, tmp_path, **settings), Training._step

    def train(out: str, *more: str) -> Any:
        return tunewise("train", path, "--out", tmp_path / out, "--allow-code", *more)

    whole = train("whole")
    assert whole.exit_code == 0, whole.output

    def interrupted(self: Training) -> None:
        if self.progress.step + 1 == STOPPED_AT:
            os.kill(os.getpid(), signal.SIGINT)
        real(self)

    monkeypatch.setattr(Training, "_step", interrupted)
    stopped = train("stopped")
    monkeypatch.setattr(Training, "_step", real)
    assert stopped.exit_code not in (0, 1), stopped.output
    record = json.loads((tmp_path / "stopped" / "record.json").read_text())
    assert record["status"] == "interrupted"
    done = [row["step"] for row in timeless(tmp_path / "stopped") if row["event"] == "step"]
    assert done == ([1, 2] if aim == "grpo" else [1, 2, 3])  # step 3 begins a round: while it writes, it can stop
    (saved,) = (tmp_path / "stopped" / "checkpoints").glob("step-*")
    assert int(saved.name.split("-")[1]) == done[-1]
    resumed = train("stopped", "--resume")
    assert resumed.exit_code == 0, resumed.output
    ours, theirs = digests(tmp_path / "stopped"), digests(tmp_path / "whole")
    assert ours == theirs and any(name.endswith(".safetensors") for name in ours) and len(ours) > 1
    assert timeless(tmp_path / "stopped") == timeless(tmp_path / "whole")
    assert len({row["loss"] for row in timeless(tmp_path / "whole") if row["event"] == "step"}) > 1


def test_packed_and_plain_runs_learn_the_same(gpt2: Path, tunewise: Callable[..., Any], tmp_path: Path) -> None:
    """Whatever is packed or computed again: losses of all steps to 1e-5, with the same rows in each."""
    found = []
    for number, settings in enumerate([{}, {"packing": True}, {"gradient_checkpointing": True}]):
        (tmp_path / str(number)).mkdir()
        path = recipe("sft", gpt2, tmp_path / str(number), dropout=0.0, **settings)
        result = tunewise("train", path, "--out", tmp_path / str(number) / "run")
        assert result.exit_code == 0, result.output
        found.append([row["loss"] for row in timeless(tmp_path / str(number) / "run") if row["event"] == "step"])
    plain, packed, again = found
    assert len(plain) == STEPS
    assert packed == pytest.approx(plain, abs=1e-5)
    assert again == pytest.approx(plain, abs=1e-5)
