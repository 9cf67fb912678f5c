"""The sides beside us: transformers.Trainer on an image folder, as the guides have it, and tuned.

`defaults`: an image folder of `datasets` with a transform, so that each image is decoded and goes through the model's
processor in each epoch; fp32 (the guides' random crops are left out: they are not what is compared). `tuned`: pixels
are made once, before the training, in seconds that count; fused AdamW and the number format that is asked for.
"""

from __future__ import annotations

import tempfile
import time
from pathlib import Path
from typing import TYPE_CHECKING, Any

import numpy as np

from benchmarks.images.asked import Asked, Found
from benchmarks.memory import Memory

if TYPE_CHECKING:
    import torch
    from datasets import Dataset

AT_ONCE = 64
"""Images that the processor is given where pixels are made before."""


def arguments(asked: Asked, out: str, tuned: bool) -> dict[str, Any]:
    """What the trainer is told."""
    more = {"bf16": asked.precision == "bf16", "optim": "adamw_torch_fused"} if tuned else {}
    return {
        "output_dir": out,
        "num_train_epochs": asked.epochs,
        "learning_rate": asked.rate,
        "per_device_train_batch_size": asked.batch,
        "seed": asked.seed,
        "remove_unused_columns": False,
        "eval_strategy": "no",
        "save_strategy": "no",
        "report_to": "none",
        "use_cpu": True,
        "disable_tqdm": True,
        **more,
    }


def run(asked: Asked, tuned: bool) -> Found:
    """Trains and tests, in this process."""
    from transformers import (
        AutoConfig,
        AutoImageProcessor,
        AutoModelForImageClassification,
        Trainer,
        TrainingArguments,
        set_seed,
    )

    AutoModelForImageClassification._model_mapping[type(AutoConfig.from_pretrained(asked.model))]
    memory, begun = Memory(), time.perf_counter()
    set_seed(asked.seed)
    with tempfile.TemporaryDirectory() as out:
        rows = {part: read(asked, part, out) for part in ("train", "test")}
        names = rows["train"].features["label"].names
        processor = AutoImageProcessor.from_pretrained(asked.model, backend="pil")
        model = AutoModelForImageClassification.from_pretrained(
            asked.model, num_labels=len(names), ignore_mismatched_sizes=True
        )
        trained = freeze(model, asked.method)
        prepare = made_once if tuned else made_each_time
        started = time.perf_counter()
        train = prepare(rows["train"], processor)
        prepared = time.perf_counter() - started
        trainer = Trainer(
            model=model,
            args=TrainingArguments(**arguments(asked, out, tuned)),
            data_collator=collate,
            train_dataset=train,
        )
        started = time.perf_counter()
        trainer.train()
        seconds = prepared + time.perf_counter() - started
        said = trainer.predict(prepare(rows["test"], processor))
        accuracy = float((said.predictions.argmax(-1) == said.label_ids).mean())
    whole = time.perf_counter() - begun
    return Found(seconds, whole, memory.above(), accuracy, trainer.state.global_step, trained)


def read(asked: Asked, part: str, out: str) -> Dataset:
    """The images of a part, not yet decoded, with caches in the folder `out`."""
    from datasets import load_dataset

    files = {part: str(asked.images / part / "**")}
    return load_dataset("imagefolder", data_files=files, split=part, cache_dir=str(Path(out) / "cache"))


def freeze(model: torch.nn.Module, method: str) -> int:
    """Leaves what the method trains; returns how many parameters that is."""
    for name, parameter in model.named_parameters():
        parameter.requires_grad = method == "full" or name.startswith("classifier")
    return sum(parameter.numel() for parameter in model.parameters() if parameter.requires_grad)


def made_each_time(rows: Dataset, processor: Any) -> Dataset:
    """Rows that are decoded and processed whenever they are read."""

    def transform(batch: dict[str, list[Any]]) -> dict[str, list[Any]]:
        images = [image.convert("RGB") for image in batch["image"]]
        return {"pixel_values": processor(images, return_tensors="pt")["pixel_values"], "label": batch["label"]}

    return rows.with_transform(transform)


def made_once(rows: Dataset, processor: Any) -> list[dict[str, Any]]:
    """Rows whose pixel values are in memory, float32 (C, H, W)."""
    made: list[dict[str, Any]] = []
    for start in range(0, len(rows), AT_ONCE):
        batch = rows[start : start + AT_ONCE]
        images = [image.convert("RGB") for image in batch["image"]]
        values_BCHW = processor(images, return_tensors="pt")["pixel_values"]
        made += [
            {"pixel_values": values_CHW, "label": label}
            for values_CHW, label in zip(values_BCHW, batch["label"], strict=True)
        ]
    return made


def collate(rows: list[dict[str, Any]]) -> dict[str, torch.Tensor]:
    """pixel_values (B, C, H, W) and labels (B,)."""
    import torch

    labels_B = torch.from_numpy(np.array([row["label"] for row in rows], dtype=np.int64))
    return {"pixel_values": torch.stack([row["pixel_values"] for row in rows]), "labels": labels_B}
