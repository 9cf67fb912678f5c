"""Our side: the command `tunewise train`, with a recipe that says what the trainers beside it are told."""

from __future__ import annotations

import importlib
import json
import tempfile
from collections.abc import Mapping
from pathlib import Path
from typing import Any

from benchmarks.language_models.asked import Asked, Found
from benchmarks.memory import Memory

IMPORTED = ("transformers.models.llama.modeling_llama", "tunewise.engine.language_model", "tunewise.run")
LONGEST_READ = 1024
"""Tokens of a sequence, which is what trl's trainers read as they come."""


def recipe(asked: Asked, train: Mapping[str, Any], **sections: Any) -> dict[str, Any]:
    """The recipe of full fine-tuning, with more settings of `train` and more sections."""
    return {
        "model": str(asked.file("model")),
        "data": {name: str(asked.file(f"{name}.jsonl")) for name in ("train", "validation", "test")},
        "method": {"full": {"learning_rate": asked.rate}},
        **sections,
        "train": {
            "max_steps": asked.steps,
            "batch_size": asked.batch,
            "accumulate": asked.accumulate,
            "schedule": "constant",
            "warmup": 0,
            "weight_decay": 0,
            "keep_best": False,
            "evaluate_every": asked.steps,
            "device": "cpu",
            "precision": asked.precision,
            "threads": asked.threads,
            "max_length": LONGEST_READ,
            **train,
        },
    }


def run(described: Mapping[str, Any], *options: str, files: Mapping[str, str] | None = None) -> Found:
    """Trains by the command, in this process, where all that it needs is imported before memory is counted; `files`
    lie beside the recipe. Without the cache, so that nothing is read that an earlier run has computed."""
    for module in IMPORTED:
        importlib.import_module(module)
    from tunewise.cli.main import app

    with tempfile.TemporaryDirectory() as out:
        file, folder = Path(out) / "recipe.yaml", Path(out) / "run"
        described = {**described, "train": {**described["train"], "cache": False}}
        for name, text in {"recipe.yaml": json.dumps(described), **(files or {})}.items():
            (Path(out) / name).write_text(text, encoding="utf-8")
        memory = Memory()
        if code := app(["train", str(file), "--out", str(folder), *options], standalone_mode=False):
            raise SystemExit(code)
        above = memory.above()
        record = json.loads((folder / "record.json").read_text(encoding="utf-8"))
        events = [json.loads(line) for line in (folder / "log.jsonl").read_text("utf-8").splitlines()]
    losses = [event["loss"] for event in events if event.get("event") == "step"]
    told = [event["figures"] for event in events if event.get("event") == "wrote"]
    figures = [{name: step[name] for name in ("length", "reward")} for step in told]
    return Found(record["costs"]["train_seconds"], above, losses, figures)
