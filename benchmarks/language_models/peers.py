"""trl's side: a trainer, as it comes or with what an expert would set on a CPU."""

from __future__ import annotations

import tempfile
import time
from collections.abc import Callable
from pathlib import Path
from typing import TYPE_CHECKING, Any

from benchmarks.language_models.asked import Asked, Found
from benchmarks.memory import Memory

if TYPE_CHECKING:
    from datasets import Dataset
    from transformers import Trainer

FIGURES = {"completions/mean_length": "length", "reward": "reward"}


def tuned(asked: Asked) -> dict[str, Any]:
    """What an expert would set of any trainer: no checkpointing, which costs time to save memory, and bf16 only where
    the machine is asked to compute in it. As they come, trl's trainers checkpoint, and compute in bf16."""
    return {"gradient_checkpointing": False, "bf16": asked.precision == "bf16"}


def settings(asked: Asked, out: str) -> dict[str, Any]:
    """What decides the steps, the same for all sides; everything else is the trainer's own."""
    return {
        "output_dir": out,
        "max_steps": asked.steps,
        "per_device_train_batch_size": asked.batch,
        "gradient_accumulation_steps": asked.accumulate,
        "learning_rate": asked.rate,
        "lr_scheduler_type": "constant",
        "logging_steps": 1,
        "save_strategy": "no",
        "report_to": [],
        "use_cpu": True,
        "disable_tqdm": True,
    }


def rows(asked: Asked, out: str) -> Dataset:
    """The training rows, whose caches are gone with the folder `out`."""
    from datasets import load_dataset

    file, cache = str(asked.file("train.jsonl")), str(Path(out) / "cache")
    return load_dataset("json", data_files=file, split="train", cache_dir=cache)


def run(asked: Asked, make: Callable[[str, dict[str, Any]], Trainer]) -> Found:
    """Trains what `make` gives for an empty folder and the arguments that all trainers take; what it imports is
    imported before."""
    import transformers.models.llama.modeling_llama  # noqa: F401
    from transformers import AutoModelForCausalLM, AutoTokenizer, TrainerCallback

    times: list[float] = []
    found = Found(0.0, None, [])

    class Watch(TrainerCallback):
        def on_train_begin(self, *_: Any, **__: Any) -> None:
            times.append(time.perf_counter())

        on_train_end = on_train_begin

        def on_log(self, args: Any, state: Any, control: Any, logs: dict[str, float], **_: Any) -> None:
            found.losses.extend([logs["loss"]] if "loss" in logs else [])
            if FIGURES.keys() <= logs.keys():
                found.figures.append({name: logs[theirs] for theirs, name in FIGURES.items()})

    memory = Memory()
    with tempfile.TemporaryDirectory() as out:
        given = {
            "model": AutoModelForCausalLM.from_pretrained(asked.file("model")),
            "processing_class": AutoTokenizer.from_pretrained(asked.file("model")),
            "train_dataset": rows(asked, out),
            "callbacks": [Watch()],
        }
        trainer = make(out, given)
        trainer.train()
    found.seconds, found.above_bytes = times[1] - times[0], memory.above()
    return found
