"""The benchmark of images: what each side is told and reads, and that sides which must agree do."""

from __future__ import annotations

import json
import shutil
from argparse import Namespace
from collections.abc import Callable
from dataclasses import asdict
from pathlib import Path
from typing import Any

import numpy as np
import pytest
from PIL import Image

from benchmarks.images import __main__ as command
from benchmarks.images import material, own, peers
from benchmarks.images.asked import Asked, Found
from tunewise.recipe import recipe_from

Bench = Callable[..., Asked]


@pytest.fixture
def bench(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Bench:
    """A small model and few images."""
    for name, value in (("STAGES", (8, 16)), ("SIZE", 32)):
        monkeypatch.setattr(material, name, value)
    material.write_images(tmp_path / "images", 16, 8)
    material.write_model(tmp_path / "model")

    def make(method: str, **more: Any) -> Asked:
        return Asked(str(tmp_path), method, **{"epochs": 2, "batch": 4, "rate": 1e-3, **more})

    return make


def files_of(folder: Path) -> list[str]:
    return sorted(file.relative_to(folder).as_posix() for file in folder.rglob("*.*"))


def test_images_are_the_same_each_time_and_of_many_sizes(tmp_path: Path) -> None:
    for name in ("one", "two"):
        material.write_images(tmp_path / name, 8, 4)
    assert files_of(tmp_path / "one") == files_of(tmp_path / "two")
    sizes = set()
    for name in files_of(tmp_path / "one"):
        assert (tmp_path / "one" / name).read_bytes() == (tmp_path / "two" / name).read_bytes()
        sizes.add(Image.open(tmp_path / "one" / name).size)
    assert len(sizes) > 10
    counts = {part: material.count_images(tmp_path / "one" / part) for part in ("train", "val", "test")}
    assert counts == {"train": 8, "val": 8, "test": 4}


def test_stripes_run_in_the_direction_of_their_class() -> None:
    draw = np.random.default_rng(3)
    for kind in range(material.CLASSES):
        angle = np.pi * kind / material.CLASSES
        grey = material._stripes(draw, angle).astype(float).mean(-1)
        spectrum = np.abs(np.fft.fft2(grey - grey.mean()))
        row, column = np.unravel_index(spectrum.argmax(), spectrum.shape)
        frequencies = np.fft.fftfreq(grey.shape[0])[row], np.fft.fftfreq(grey.shape[1])[column]
        found = np.arctan2(*frequencies) % np.pi
        assert min(abs(found - angle), np.pi - abs(found - angle)) < np.pi / 8


def test_images_of_the_user_are_shared_out(tmp_path: Path) -> None:
    material.write_images(tmp_path / "made", 16, 8)
    shutil.rmtree(tmp_path / "made" / "test")
    material.take_images(tmp_path / "made", tmp_path / "all", None, None)
    taken = files_of(tmp_path / "all" / "train") + files_of(tmp_path / "all" / "val")
    assert sorted(taken) == files_of(tmp_path / "made" / "train")
    assert files_of(tmp_path / "all" / "test") == files_of(tmp_path / "made" / "val")
    material.take_images(tmp_path / "made", tmp_path / "few", 4, 4)
    counts = {part: material.count_images(tmp_path / "few" / part) for part in ("train", "val", "test")}
    assert counts == {"train": 4, "val": 8, "test": 4}
    shutil.rmtree(tmp_path / "made" / "val")
    with pytest.raises(ValueError, match="neither 'test' nor 'val'"):
        material.take_images(tmp_path / "made", tmp_path / "none", None, None)


@pytest.mark.parametrize("method", ["head", "full"])
def test_all_sides_take_the_same_steps(method: str) -> None:
    asked = Asked("folder", method, epochs=3, batch=8, rate=1e-3, seed=2, precision="bf16", threads=2)
    ours, theirs = recipe_from(own.recipe(asked, {})), peers.arguments(asked, "out", tuned=True)
    train = ours.train
    assert (train.epochs, train.batch_size, ours.seed) == (3, 8, 2)
    assert train.epochs == theirs["num_train_epochs"] and train.batch_size == theirs["per_device_train_batch_size"]
    assert (train.schedule, train.warmup, train.weight_decay, train.max_grad_norm) == ("linear", 0, 0, 1)
    assert theirs["seed"] == 2 and theirs["bf16"] and train.precision == "bf16" and train.threads == 2
    assert "bf16" not in peers.arguments(asked, "out", tuned=False)
    told = own.recipe(asked, {"batch_norm": "updated"})
    assert (
        told["train"]["batch_norm"] == "updated" and told["method"][method]["learning_rate"] == theirs["learning_rate"]
    )


def test_the_trainer_has_the_same_defaults_as_our_recipe() -> None:
    """What the trainer is not told."""
    from transformers import TrainingArguments

    defaults = TrainingArguments(output_dir="out", use_cpu=True)
    assert (defaults.lr_scheduler_type, defaults.warmup_steps, defaults.weight_decay) == ("linear", 0, 0.0)
    assert defaults.max_grad_norm == 1.0 and defaults.gradient_accumulation_steps == 1


def test_our_sides(bench: Bench) -> None:
    asked = bench("head")
    found = own.run(asked)
    assert found.steps == 8 and found.trained == 16 * 4 + 4
    assert 0 < found.seconds < found.whole_seconds and 0 <= found.accuracy <= 1
    told = json.loads(command.answer({"side": "ours, batch norm updated", "asked": asdict(bench("full"))}))
    assert Found(**told).steps == 8 and Found(**told).trained > 1000


def test_a_line_for_each_side_in_turns(monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]) -> None:
    seconds = iter([8.0, 2.0, 9.0, 3.0])

    def measure(module: str, argument: dict[str, Any]) -> dict[str, Any]:
        asked = Asked(**argument["asked"])
        assert module == command.MODULE and asked.model.is_dir() and material.count_images(asked.images / "train") == 8
        accuracy = 0.5 + asked.seed / 4
        return {**asdict(Found(next(seconds), 20.0, 2**20, accuracy, 6, 68)), "command_seconds": 30.0}

    monkeypatch.setattr(command, "measure_in_process", measure)
    monkeypatch.setattr(material, "STAGES", (8, 16))
    arguments = ["--rows", "8", "--test-rows", "4", "--rounds", "2", "--sides", "defaults", "ours"]
    assert command.main(arguments) == 0
    *lines, summary = [json.loads(line) for line in capsys.readouterr().out.splitlines()]
    assert [(line["side"], line["seed"]) for line in lines] == [
        ("defaults", 0), ("ours", 0), ("defaults", 1), ("ours", 1)
    ]  # fmt: skip
    assert lines[0]["images_per_second"] == 8 * 3 / 8.0 and lines[0]["above_mib"] == 1
    assert summary["defaults"] == {"accuracy": 0.625, "over_ours": [3.5, 3.0, 4.0]}
    assert summary["ours"]["over_ours"] == [1.0, 1.0, 1.0]


def test_the_rate_is_that_of_the_method() -> None:
    given: Namespace = command.options(["--method", "full"])
    assert (given.rate, given.epochs, given.rounds) == (1e-4, 3, 3) and given.sides == list(command.SIDES)
    assert command.options(["--rate", "0.5"]).rate == 0.5


@pytest.mark.slow
@pytest.mark.parametrize("method", ["head", "full"])
def test_sides_of_the_trainer(method: str, bench: Bench) -> None:
    """The same steps, parameters and pixels as ours."""
    from transformers import AutoImageProcessor

    asked = bench(method)
    ours = own.run(asked)
    for tuned in (False, True):
        found = peers.run(asked, tuned)
        assert (found.steps, found.trained) == (ours.steps, ours.trained)
        assert 0 < found.seconds < found.whole_seconds
    processor = AutoImageProcessor.from_pretrained(asked.model, backend="pil")
    rows = peers.read(asked, "train", asked.folder)
    each, once = peers.made_each_time(rows, processor), peers.made_once(rows, processor)
    assert len(each) == len(once) == 16
    for left, right in zip(each, once, strict=True):
        assert left["label"] == right["label"]
        np.testing.assert_array_equal(left["pixel_values"], right["pixel_values"])
