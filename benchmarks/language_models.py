"""`python -m benchmarks.language_models`: supervised fine-tuning beside trl's SFTTrainer, in turns.

A random Llama of 20M parameters with 32,000 tokens learns answers to prompts of random words, whose lengths are spread
as those of instruction data are. Every optimiser step reads all rows, so that the losses of all sides can be compared
step by step. `defaults` is SFTTrainer as it comes; `tuned` is what an expert would set on a CPU: batches of similar
length, no checkpointing, bf16 only where the machine is faster in it.
"""

from __future__ import annotations

import argparse
import importlib
import json
import sys
import tempfile
import time
from pathlib import Path
from typing import Any

import numpy as np

from benchmarks.memory import Memory
from benchmarks.process import measure_in_process

SIDES = ("defaults", "tuned", "ours", "ours, packed", "ours, checkpointing")
VOCABULARY, WIDTH, LAYERS = 32_000, 256, 4
MEDIANS, SPREAD, LONGEST = (20, 60), 0.8, 400
"""Words of a prompt and of an answer: medians of log-normal lengths, their spread, the most."""


def write_data(folder: Path, rows: int) -> None:
    """train.jsonl and validation.jsonl with a prompt and a completion in each row, and the folder of the model."""
    draw = np.random.default_rng(0)
    for name, count in (("train", rows), ("validation", 8), ("test", 8)):
        with (folder / f"{name}.jsonl").open("w", encoding="utf-8") as file:
            for _ in range(count):
                lengths = [min(LONGEST, max(2, int(draw.lognormal(np.log(most), SPREAD)))) for most in MEDIANS]
                words = ["".join(f" w{word}" for word in draw.integers(0, VOCABULARY - 10, size)) for size in lengths]
                file.write(json.dumps(dict(zip(("prompt", "completion"), words, strict=True))) + "\n")
    _write_model(folder / "model")


def _write_model(folder: Path) -> None:
    import torch
    from tokenizers import Tokenizer, models, pre_tokenizers
    from transformers import LlamaConfig, LlamaForCausalLM, PreTrainedTokenizerFast

    special = {"pad_token": "<pad>", "eos_token": "</s>", "bos_token": "<s>", "unk_token": "<unk>"}
    words = [*special.values(), *(f"w{number}" for number in range(VOCABULARY - len(special)))]
    tokenizer = Tokenizer(models.WordLevel({word: number for number, word in enumerate(words)}, unk_token="<unk>"))
    tokenizer.pre_tokenizer = pre_tokenizers.WhitespaceSplit()
    PreTrainedTokenizerFast(tokenizer_object=tokenizer, model_max_length=1024, **special).save_pretrained(folder)
    config = LlamaConfig(
        vocab_size=VOCABULARY,
        hidden_size=WIDTH,
        intermediate_size=688,
        num_hidden_layers=LAYERS,
        num_attention_heads=4,
        num_key_value_heads=4,
        pad_token_id=0,
        eos_token_id=1,
        bos_token_id=2,
        max_position_embeddings=1024,
    )
    torch.manual_seed(0)
    LlamaForCausalLM(config).save_pretrained(folder)


def measure(asked: dict[str, Any]) -> dict[str, Any]:
    """One side, in this process: seconds of training, memory above the imports, the loss of each step."""
    import torch

    torch.set_num_threads(asked["threads"])
    return (_ours if asked["side"].startswith("ours") else _trl)(asked)


def _ours(asked: dict[str, Any]) -> dict[str, Any]:
    for module in ("transformers.models.llama.modeling_llama", "tunewise.engine.language_model", "tunewise.run"):
        importlib.import_module(module)
    from tunewise.cli.main import app

    folder = Path(asked["folder"])
    more = {
        "ours, packed": {"packing": True, "group_by_length": False},
        "ours, checkpointing": {"gradient_checkpointing": True},
    }.get(asked["side"], {})
    recipe = {
        "model": str(folder / "model"),
        "data": {name: str(folder / f"{name}.jsonl") for name in ("train", "validation", "test")},
        "method": {"full": {"learning_rate": asked["rate"]}},
        "train": {
            "max_steps": asked["steps"],
            "batch_size": asked["batch"],
            "accumulate": asked["rows"] // asked["batch"],
            "schedule": "constant",
            "warmup": 0,
            "weight_decay": 0,
            "keep_best": False,
            "evaluate_every": asked["steps"],
            "device": "cpu",
            "precision": asked["precision"],
            "threads": asked["threads"],
            "max_length": 1024,
            **more,
        },
    }
    with tempfile.TemporaryDirectory() as out:
        file = Path(out) / "recipe.yaml"
        file.write_text(json.dumps(recipe), encoding="utf-8")
        memory = Memory()
        if code := app(["train", str(file), "--out", str(Path(out) / "run")], standalone_mode=False):
            raise SystemExit(code)
        above = memory.above()
        record = json.loads((Path(out) / "run" / "record.json").read_text(encoding="utf-8"))
        events = [json.loads(line) for line in (Path(out) / "run" / "log.jsonl").read_text("utf-8").splitlines()]
    losses = [event["loss"] for event in events if event.get("event") == "step"]
    return {"seconds": record["costs"]["train_seconds"], "above_bytes": above, "losses": losses}


def _trl(asked: dict[str, Any]) -> dict[str, Any]:
    import transformers.models.llama.modeling_llama  # noqa: F401
    from datasets import load_dataset
    from transformers import AutoModelForCausalLM, AutoTokenizer, TrainerCallback
    from trl import SFTConfig, SFTTrainer

    folder, times, losses = Path(asked["folder"]), [], []

    class Watch(TrainerCallback):
        def on_train_begin(self, *_: Any, **__: Any) -> None:
            times.append(time.perf_counter())

        on_train_end = on_train_begin

        def on_log(self, args: Any, state: Any, control: Any, logs: dict[str, float], **_: Any) -> None:
            losses.extend([logs["loss"]] if "loss" in logs else [])

    tuned = {"gradient_checkpointing": False, "train_sampling_strategy": "group_by_length"}
    tuned["bf16"] = asked["precision"] == "bf16"
    memory = Memory()
    with tempfile.TemporaryDirectory() as out:
        config = SFTConfig(
            output_dir=out,
            max_steps=asked["steps"],
            per_device_train_batch_size=asked["batch"],
            gradient_accumulation_steps=asked["rows"] // asked["batch"],
            learning_rate=asked["rate"],
            lr_scheduler_type="constant",
            logging_steps=1,
            save_strategy="no",
            report_to=[],
            use_cpu=True,
            disable_tqdm=True,
            **(tuned if asked["side"] == "tuned" else {}),
        )
        trainer = SFTTrainer(
            model=AutoModelForCausalLM.from_pretrained(folder / "model"),
            args=config,
            processing_class=AutoTokenizer.from_pretrained(folder / "model"),
            train_dataset=load_dataset(
                "json", data_files=str(folder / "train.jsonl"), split="train", cache_dir=str(Path(out) / "cache")
            ),
            callbacks=[Watch()],
        )
        trainer.train()
    return {"seconds": times[1] - times[0], "above_bytes": memory.above(), "losses": losses}


def tokens_of(folder: Path) -> int:
    """Tokens of all rows, with the end of each, padding left out."""
    rows = (json.loads(line) for line in (folder / "train.jsonl").read_text(encoding="utf-8").splitlines())
    return sum(len(row["prompt"].split()) + len(row["completion"].split()) + 1 for row in rows)


def main() -> int:
    """Measures all sides in turns and prints a line of JSON for each."""
    parser = argparse.ArgumentParser(prog="python -m benchmarks.language_models", description=__doc__)
    parser.add_argument("--rows", type=int, default=64, help="rows, all of which a step reads (64)")
    parser.add_argument("--batch", type=int, default=8, help="rows of a batch (8)")
    parser.add_argument("--steps", type=int, default=3, help="optimiser steps (3)")
    parser.add_argument("--rounds", type=int, default=2, help="how often each side is measured (2)")
    parser.add_argument("--threads", type=int, default=1, help="CPU threads of every side (1)")
    parser.add_argument("--rate", type=float, default=1e-3, help="learning rate (1e-3)")
    parser.add_argument("--precision", choices=["fp32", "bf16"], default="fp32", help="of ours and of `tuned` (fp32)")
    parser.add_argument("--sides", nargs="+", choices=SIDES, default=SIDES)
    asked = vars(parser.parse_args())
    with tempfile.TemporaryDirectory(prefix="language-models-") as folder:
        write_data(Path(folder), asked["rows"])
        tokens = tokens_of(Path(folder)) * asked["steps"]
        for _ in range(asked["rounds"]):
            for side in asked["sides"]:
                found = measure_in_process("benchmarks.language_models", {**asked, "side": side, "folder": folder})
                speed = {"tokens_per_second": round(tokens / found["seconds"], 1)}
                mib = {"above_mib": round((found["above_bytes"] or 0) / 2**20)}
                losses = [round(loss, 5) for loss in found["losses"]]
                print(json.dumps({"side": side, **speed, **mib, "losses": losses}), flush=True)
    return 0


if __name__ == "__main__":
    if len(sys.argv) == 2 and sys.argv[1].startswith("{"):
        print(json.dumps(measure(json.loads(sys.argv[1]))))
    else:
        sys.exit(main())
