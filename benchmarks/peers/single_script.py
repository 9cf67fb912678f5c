"""The single script: transformers' Trainer (and peft) on a CSV file, one method, in a process of its own.

As the guides print it, with the defaults of the libraries; with `expert`, as somebody writes it who knows them: bf16,
batches by length, fused AdamW, the best number of threads, larger batches for prediction.
"""

from __future__ import annotations

import csv
import json
import sys
import tempfile
import time
from dataclasses import asdict, dataclass
from pathlib import Path
from typing import Any

EXPERT_PREDICTION_BATCH = 64


@dataclass(frozen=True)
class Script:
    """What one script is asked to do. `threads`: None leaves them to torch. `validate`: at each epoch, as guides do."""

    model: str
    train: str
    validation: str
    test: str
    method: str
    learning_rate: float
    batch_size: int
    seed: int
    epochs: float = 3.0
    max_steps: int = -1
    expert: bool = False
    threads: int | None = None
    validate: bool = False

    def to_json(self) -> str:
        return json.dumps(asdict(self))


def run(script: Script) -> dict[str, Any]:
    """Trains and tests; returns seconds of training alone, memory above that of the imports, accuracy on test."""
    import torch
    from transformers import AutoModelForSequenceClassification, AutoTokenizer, Trainer, set_seed

    from benchmarks.memory import Memory
    from benchmarks.peers.parts import add_schedule, apply_method

    if script.method in ("lora", "prefix_tuning", "prompt_tuning"):
        import peft  # noqa: F401 - before memory is counted
    _import_model_code(script.model)
    memory = Memory()
    if script.threads:
        torch.set_num_threads(script.threads)
    set_seed(script.seed)
    tokenizer = AutoTokenizer.from_pretrained(script.model)
    labels, datasets = _datasets(script, tokenizer)
    model = AutoModelForSequenceClassification.from_pretrained(script.model, num_labels=len(labels))
    if script.expert:
        model.accepts_loss_kwargs = False  # else the loss under accumulation is multiplied by the number of steps
    model = apply_method(script.method, model)
    with tempfile.TemporaryDirectory() as folder:
        trainer = Trainer(
            model=model,
            args=_arguments(script, folder),
            train_dataset=datasets["train"],
            eval_dataset=datasets["validation"],
            processing_class=tokenizer,
            compute_metrics=_accuracy,
        )
        add_schedule(script.method, trainer, script.expert)
        started = time.perf_counter()
        trainer.train()
        seconds = time.perf_counter() - started
        accuracy = trainer.predict(datasets["test"]).metrics["test_accuracy"]
    return {
        "train_seconds": seconds,
        "above_bytes": memory.above(),
        "accuracy": accuracy,
        "steps": trainer.state.global_step,
        "optimizer_bytes": _bytes_of(trainer.optimizer.state),
    }


def _import_model_code(model: str) -> None:
    """So that what is read in late counts as imported, on this side as on the other."""
    from transformers import AutoConfig, AutoModelForSequenceClassification

    AutoModelForSequenceClassification._model_mapping[type(AutoConfig.from_pretrained(model))]


def _arguments(script: Script, folder: str) -> Any:
    from transformers import TrainingArguments

    more: dict[str, Any] = {}
    if script.expert:
        more = {
            "bf16": True,
            "train_sampling_strategy": "group_by_length",
            "optim": "adamw_torch_fused",
            "per_device_eval_batch_size": EXPERT_PREDICTION_BATCH,
        }
    return TrainingArguments(
        output_dir=folder,
        num_train_epochs=script.epochs,
        max_steps=script.max_steps,
        learning_rate=script.learning_rate,
        per_device_train_batch_size=script.batch_size,
        seed=script.seed,
        use_cpu=True,
        eval_strategy="epoch" if script.validate else "no",
        save_strategy="no",
        report_to="none",
        disable_tqdm=True,
        **more,
    )


def _datasets(script: Script, tokenizer: Any) -> tuple[list[str], dict[str, Any]]:
    from datasets import Dataset

    rows = {name: read_rows(getattr(script, name)) for name in ("train", "validation", "test")}
    labels = sorted({label for _, label in rows["train"]})

    def encode(batch: dict[str, list[str]]) -> dict[str, Any]:
        tokens = tokenizer(batch["text"], truncation=True)
        # Without this column, batches by length tokenise by reading every row once more.
        return {**tokens, "length": [len(ids) for ids in tokens["input_ids"]]} if script.expert else dict(tokens)

    datasets = {}
    for name, pairs in rows.items():
        plain = {"text": [text for text, _ in pairs], "label": [labels.index(label) for _, label in pairs]}
        datasets[name] = Dataset.from_dict(plain).map(encode, batched=True, remove_columns=["text"])
    return labels, datasets


def read_rows(file: str | Path) -> list[tuple[str, str]]:
    """(text, label) of each row of a CSV file with columns of these names."""
    with Path(file).open(newline="", encoding="utf-8") as opened:
        return [(row["text"], row["label"]) for row in csv.DictReader(opened)]


def _accuracy(predicted: Any) -> dict[str, float]:
    said = predicted.predictions[0] if isinstance(predicted.predictions, tuple) else predicted.predictions
    return {"accuracy": float((said.argmax(-1) == predicted.label_ids).mean())}


def _bytes_of(state: Any) -> int:
    """Of the optimiser's moments."""
    return sum(value.nbytes for entry in state.values() for value in entry.values() if hasattr(value, "nbytes"))


if __name__ == "__main__":
    found = run(Script(**json.loads(sys.argv[1])))
    print(json.dumps(found))
