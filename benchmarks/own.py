"""Our side: recipes, and the commands `tunewise train` and `tunewise compare` that carry them out."""

from __future__ import annotations

import json
import tempfile
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

from benchmarks.process import measure_in_process, run_process
from benchmarks.rows import Files

CACHE = "TUNEWISE_CACHE"
LAUNCHER = "benchmarks.launch"


@dataclass(frozen=True)
class Training:
    """What a recipe of ours says beside model, data and method. The same on both sides: a linear schedule without
    warm-up, no weight decay, clipping at 1, the weights of the last step."""

    batch_size: int
    epochs: float | None = 3.0
    max_steps: int | None = None
    more: Mapping[str, Any] = field(default_factory=dict)

    def section(self) -> dict[str, Any]:
        length = {"max_steps": self.max_steps} if self.max_steps else {"epochs": self.epochs}
        same = {"schedule": "linear", "warmup": 0, "weight_decay": 0, "max_grad_norm": 1, "keep_best": False}
        return {**length, **same, "batch_size": self.batch_size, "device": "cpu", **self.more}


def recipe(model: str, files: Files, training: Training, seed: int) -> dict[str, Any]:
    """A recipe without its method, as plain data."""
    data = {"train": str(files.train), "validation": str(files.validation), "test": str(files.test)}
    return {
        "model": model,
        "data": {**data, "text": "text", "label": "label"},
        "train": training.section(),
        "evaluate": {"resamples": 100},
        "metric": "accuracy",
        "seed": seed,
        "seeds": 1,
    }


def train(described: Mapping[str, Any], method: Mapping[str, Any]) -> dict[str, Any]:
    """Runs `tunewise train` with an empty cache; see `launch` for what comes back."""
    with tempfile.TemporaryDirectory() as folder:
        file = _write(Path(folder), {**described, "method": method})
        asked = {"recipe": str(file), "out": str(Path(folder) / "run")}
        return measure_in_process(LAUNCHER, asked, _fresh_cache(folder))


def compare(described: Mapping[str, Any], methods: Sequence[Mapping[str, Any]]) -> dict[str, Any]:
    """Runs `tunewise compare` with an empty cache; seconds are those of the whole command, imports included."""
    with tempfile.TemporaryDirectory() as folder:
        file, out = _write(Path(folder), {**described, "methods": list(methods)}), Path(folder) / "out"
        command = ["-m", "tunewise.cli.main", "compare", str(file), "--out", str(out)]
        _, seconds = run_process(command, _fresh_cache(folder))
        content = json.loads((out / "comparison.json").read_text(encoding="utf-8"))
    runs = [run for run in content["runs"] if run["kind"] != "baseline"]
    return {
        "command_seconds": seconds,
        "accuracies": {name_of(run["method"]): run["scores"]["test"]["accuracy"]["value"] for run in runs},
        "train_seconds": {name_of(run["method"]): run["costs"]["train_seconds"] for run in runs},
    }


def name_of(label: str) -> str:
    """`lora` of `lora(rank=8)`."""
    return label.partition("(")[0]


def _fresh_cache(folder: str) -> dict[str, str]:
    return {CACHE: str(Path(folder) / "cache")}


def _write(folder: Path, content: Mapping[str, Any]) -> Path:
    """JSON is YAML."""
    file = folder / "recipe.yaml"
    file.write_text(json.dumps(content, indent=1), encoding="utf-8")
    return file
