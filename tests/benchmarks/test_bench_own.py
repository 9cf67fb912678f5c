"""Our side runs the real commands, and what is measured beside them is what it says."""

from __future__ import annotations

import json
import platform
import sys
from pathlib import Path

import numpy as np
import pytest
import torch
from transformers import AutoModelForSequenceClassification

from benchmarks import further, machine, own, process, vocabulary
from benchmarks.jobs import COMPARED, Bench, method_of
from benchmarks.memory import Memory
from benchmarks.rows import Files, read_csv
from benchmarks.stacked import ONE_BY_ONE, ONE_PASS
from tunewise.recipe import load_recipe


def test_recipes_say_the_same_as_the_peers(files: Files, tmp_path: Path) -> None:
    described = own.recipe("model", files, own.Training(8), seed=3)
    loaded = load_recipe(own._write(tmp_path, {**described, "methods": [method_of(name) for name in COMPARED]}))
    assert [choice.name for choice in loaded.all_methods] == list(COMPARED) and loaded.all_seeds == [3]
    settings = loaded.train
    assert (settings.epochs, settings.batch_size, settings.schedule) == (3, 8, "linear")
    assert (settings.warmup, settings.weight_decay, settings.max_grad_norm, settings.dropout) == (0, 0, 1, None)


def test_the_command_is_measured(tiny_bert: Path, files: Files) -> None:
    described = own.recipe(str(tiny_bert), files, own.Training(8, epochs=2), seed=0)
    found = own.train(described, method_of("full"))
    assert found["rows"] == len(read_csv(files.train)) == 48
    assert 0 < found["train_seconds"] < found["work_seconds"] < found["command_seconds"]
    tokenizer_tokens = found["tokens"]
    assert tokenizer_tokens % 2 == 0 and tokenizer_tokens > 2 * 48 * 3
    weights = sum(t.numel() for t in AutoModelForSequenceClassification.from_pretrained(tiny_bert).parameters())
    assert 0 < found["optimizer_bytes"] <= 2 * 4 * weights + 10_000


def test_a_failure_tells_the_last_lines() -> None:
    with pytest.raises(process.MeasuringError, match=r"exit code 1\n(.|\n)*No module named benchmarks.absent"):
        process.measure_in_process("benchmarks.absent", {})
    with pytest.raises(process.MeasuringError, match="answered no JSON"):
        process.measure_in_process("this", "")


def test_surroundings_of_a_process(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("OMP_NUM_THREADS", "1")
    printed, seconds = process.run_process(
        ["-c", "import os, json; print(json.dumps(dict(os.environ)))"], {"MORE": "1"}
    )
    told = json.loads(printed)
    assert "OMP_NUM_THREADS" not in told and told["MORE"] == told["HF_HUB_OFFLINE"] == "1" and seconds > 0


@pytest.mark.skipif(not sys.platform.startswith("linux"), reason="memory is read from /proc")
def test_memory_counts_from_where_it_began() -> None:
    memory = Memory()
    block = np.ones(60_000_000, dtype=np.uint8)
    del block
    assert 55e6 < memory.above() < 200e6


def test_the_machine_names_no_host() -> None:
    told = json.dumps(machine.describe())
    assert platform.node() not in told and str(Path.home()) not in told
    assert json.loads(told)["packages"]["torch"] == torch.__version__


def test_sizes_of_a_model(tiny_bert: Path) -> None:
    found = machine.sizes(str(tiny_bert))
    by_hand = 4 * (4 * (32 * 32 + 32) + 2 * 32 * 64 + 64 + 32 + 4 * 32)  # attention, feed-forward, norms
    assert found["in_blocks"] == by_hand < found["parameters"]


def test_grown_files_have_the_rows_they_say(files: Files, tmp_path: Path) -> None:
    grown = further._grown(Bench("model", files, tmp_path), 130)
    assert len(read_csv(grown.train)) == 130 and grown.test == files.test


def test_rates_are_tried_in_both_ways(tiny_bert: Path, files: Files, tmp_path: Path) -> None:
    bench = Bench(str(tiny_bert), files, tmp_path)
    found = {side: further.lora_rates(bench, side, 0) for side in (ONE_BY_ONE, ONE_PASS)}
    assert (found[ONE_BY_ONE]["stacked"], found[ONE_PASS]["stacked"]) == (0, 4)
    for measured in found.values():
        assert len(measured["accuracies"]) == 4
        assert 0 < measured["train_seconds"] < measured["work_seconds"] < measured["command_seconds"]


def test_a_large_vocabulary(files: Files, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(vocabulary, "VOCABULARY", 600)
    monkeypatch.setattr(vocabulary, "STEPS", 2)
    texts = [text for text, _ in read_csv(files.train)]
    folder = vocabulary.write_model(tmp_path / "large", texts)
    model = AutoModelForSequenceClassification.from_pretrained(folder)
    assert model.get_input_embeddings().weight.shape == (600, vocabulary.WIDTH)
    tokenizer = vocabulary._tokenizer(texts)
    assert len(tokenizer) == 600
    assert tokenizer.convert_ids_to_tokens(tokenizer(texts[0])["input_ids"]) == [
        "<s>", *(f"▁{word}" for word in texts[0].split()), "</s>"
    ]  # fmt: skip
    found = vocabulary.untrimmed({"model": str(folder), "train": str(files.train), "seed": 0})
    assert found["steps"] == 2
    assert found["optimizer_bytes"] >= 2 * 4 * sum(tensor.numel() for tensor in model.parameters())
