"""Our side: the command `tunewise train`, with a recipe that says what the trainers beside it are told."""

from __future__ import annotations

import json
import os
import sys
import tempfile
import time
from collections.abc import Mapping
from pathlib import Path
from typing import Any

from benchmarks.images.asked import Asked, Found
from benchmarks.images.material import count_images
from benchmarks.memory import Memory
from benchmarks.own import CACHE, Training


def recipe(asked: Asked, train: Mapping[str, Any]) -> dict[str, Any]:
    """The recipe, with more settings of `train`."""
    rates = {"head": {"learning_rate": asked.rate}, "full": {"learning_rate": asked.rate, "head_rate": 1}}
    same = {"precision": asked.precision, "threads": asked.threads, "weight_decay": 0, **train}
    splits = {"train": "train", "validation": "val", "test": "test"}
    return {
        "model": str(asked.model),
        "data": {name: f"{asked.images}@{part}" for name, part in splits.items()},
        "method": {asked.method: rates[asked.method]},
        "train": Training(asked.batch, epochs=asked.epochs, more=same).section(),
        "evaluate": {"resamples": 100},
        "metric": "accuracy",
        "seed": asked.seed,
    }


def run(asked: Asked, **train: Any) -> Found:
    """Trains by the command, in this process, where all that it needs is imported before, with an empty cache."""
    _import_all(asked)
    from tunewise.cli.main import app

    with tempfile.TemporaryDirectory() as folder:
        kept = os.environ.get(CACHE)
        os.environ[CACHE] = str(Path(folder) / "cache")
        file, out = Path(folder) / "recipe.yaml", Path(folder) / "run"
        file.write_text(json.dumps(recipe(asked, train)), encoding="utf-8")
        memory, begun = Memory(), time.perf_counter()
        try:
            if code := app(["train", str(file), "--out", str(out)], standalone_mode=False):
                sys.exit(code)
            whole, pixels = time.perf_counter() - begun, pixel_seconds(count_images(asked.images / "train"))
        finally:
            os.environ.pop(CACHE) if kept is None else os.environ.update({CACHE: kept})
        above = memory.above()
        record = json.loads((out / "record.json").read_text(encoding="utf-8"))
        lines = (json.loads(line) for line in (out / "log.jsonl").read_text("utf-8").splitlines())
        steps = sum(line.get("event") == "step" for line in lines)
    return Found(
        seconds=record["costs"]["train_seconds"] + pixels,
        whole_seconds=whole,
        above_bytes=above,
        accuracy=record["scores"]["test"]["accuracy"]["value"],
        steps=steps,
        trained=record["plans"][0]["trainable_parameters"],
    )


def pixel_seconds(rows: int) -> float:
    """How long it took to decode and resize so many images of a run, by what its cache says of all that it made.

    The record counts that as preparation, and the trainer beside us within its training.
    """
    from tunewise.commit import default_cache

    made = [entry.about for entry in default_cache().entries() if entry.about["kind"] == "pixels"]
    return sum(about["seconds"] for about in made) * rows / sum(about["rows"] for about in made)


def _import_all(asked: Asked) -> None:
    import sklearn.linear_model  # noqa: F401
    import tensorboard  # noqa: F401
    from transformers import AutoConfig, AutoModelForImageClassification

    import tunewise.run  # noqa: F401

    AutoModelForImageClassification._model_mapping[type(AutoConfig.from_pretrained(asked.model))]
