"""`tunewise train` in a process in which everything is imported before memory is counted."""

from __future__ import annotations

import json
import sys
import time
from pathlib import Path
from typing import Any


def run(asked: dict[str, str]) -> dict[str, Any]:
    """Carries out the command; returns the record's training seconds and scores, and memory above the imports.

    `work_seconds` are those of the command without its imports; `optimizer_bytes` are AdamW's moments after its last
    step, as torch itself tells of every optimiser.
    """
    recipe = json.loads(Path(asked["recipe"]).read_text(encoding="utf-8"))
    import_all(recipe)
    from torch.optim.optimizer import register_optimizer_step_post_hook

    from benchmarks.memory import Memory
    from tunewise.cli.main import app

    moments: dict[str, int] = {}
    register_optimizer_step_post_hook(lambda optimizer, *_: moments.update(bytes=_bytes_of(optimizer.state)))
    memory = Memory()
    started = time.perf_counter()
    if code := app(["train", asked["recipe"], "--out", asked["out"]], standalone_mode=False):
        raise SystemExit(code)
    seconds, above = time.perf_counter() - started, memory.above()
    record = json.loads((Path(asked["out"]) / "record.json").read_text(encoding="utf-8"))
    costs = record["costs"]
    return {
        "train_seconds": costs["train_seconds"],
        "work_seconds": seconds,
        "above_bytes": above,
        "accuracy": record["scores"]["test"]["accuracy"]["value"],
        "rows": record["data"]["rows"]["train"],
        "optimizer_bytes": moments.get("bytes", 0),
        "flops": costs["forward_flops"] + costs["backward_flops"],
        "tokens": _tokens_read(Path(asked["out"]) / "log.jsonl"),
        "tuned": {name: value for name, value in record["tuned"].items() if name != "recipe"},
        "warnings": record["warnings"],
    }


def import_all(recipe: dict[str, Any]) -> None:
    """What this run will import: the product's own modules, the method's packages, the model's code."""
    import pyarrow.parquet  # noqa: F401
    import sklearn.linear_model  # noqa: F401
    import tensorboard  # noqa: F401
    from transformers import AutoConfig, AutoModelForSequenceClassification

    import tunewise.run  # noqa: F401
    from tunewise.methods import find_method
    from tunewise.models.locate import locate

    (method,) = recipe["method"]
    for package in find_method(method).packages:
        __import__(package)
    config = AutoConfig.from_pretrained(locate(recipe["model"], Path.cwd()).path)
    AutoModelForSequenceClassification._model_mapping[type(config)]


def _tokens_read(log: Path) -> int:
    """Of all optimiser steps, padding left out."""
    events = (json.loads(line) for line in log.read_text(encoding="utf-8").splitlines())
    return sum(event.get("tokens", 0) for event in events)


def _bytes_of(state: Any) -> int:
    return sum(value.nbytes for entry in state.values() for value in entry.values() if hasattr(value, "nbytes"))


if __name__ == "__main__":
    print(json.dumps(run(json.loads(sys.argv[1]))))
