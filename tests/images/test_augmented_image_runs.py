"""Whole runs on images with augmentation: told, refused, kept from the cache, estimated, resumed."""

from __future__ import annotations

from collections.abc import Callable
from pathlib import Path
from typing import Any

import numpy as np
import pytest
from image_files import file_of, write_photos
from PIL import Image, ImageDraw

from tunewise.check import check
from tunewise.commit import default_cache
from tunewise.engine.stop import Stop
from tunewise.errors import RecipeError
from tunewise.recipe import Recipe, recipe_from
from tunewise.run import run

TRAIN = {"epochs": 4, "batch_size": 8, "threads": 1, "precision": "fp32", "device": "cpu", "learning_rate": 2e-3}
ALL = {"crop": True, "flip": True, "colour": True, "rand_augment": True}


@pytest.fixture(scope="module")
def photos(tmp_path_factory: pytest.TempPathFactory) -> Path:
    return write_photos(tmp_path_factory.mktemp("images") / "photos")


@pytest.fixture
def recipe(photos: Path, tiny_model: Callable[..., Path]) -> Callable[..., Recipe]:
    def make(method: Any = "full", family: str = "vit", folder: Path = photos, **sections: Any) -> Recipe:
        whole = {
            "model": str(tiny_model(family)),
            "method": method,
            "data": {"train": f"{folder}@train", "validation": f"{folder}@val", "test": f"{folder}@test"},
            "train": {**TRAIN, **sections.pop("train", {})},
            "evaluate": {"resamples": 100},
        }
        return recipe_from({**whole, **sections})

    return make


@pytest.fixture(autouse=True)
def fresh_cache(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("TUNEWISE_CACHE", str(tmp_path / "cache"))


def kept(kind: str) -> list[int]:
    """How many rows the entries of a kind have."""
    return sorted(entry.about["rows"] for entry in default_cache().entries() if entry.about["kind"] == kind)


@pytest.mark.parametrize(("augment", "changed"), [(ALL, 96), ({"mixup": 0.4, "cutmix": 1.0}, 60)], ids=["own", "mixed"])
def test_the_frozen_part_is_kept_of_rows_that_stay_as_they_are(recipe, tmp_path, augment, changed):
    method = {"last_k": {"k": 1}}
    record = run(recipe(method, augment=augment), tmp_path / "out", folder=tmp_path)
    (told,) = [warning for warning in record.warnings if warning.startswith("augmentation")]
    assert "of 96 images read in training, " in told
    assert changed <= int(told.split("training, ")[1].split(" ")[0]) <= 96
    (note,) = [note for note in record.notes if "not kept for training rows" in note]
    assert "crop 0.5, flip 0.5, colour (brightness 0.2" in note or "mixup 0.4, cutmix 1" in note
    assert note.endswith("gives the model other images")
    assert kept("prefix") == [12, 12] and kept("pixels") == [12, 12, 24]  # validation and test; and train, as it is
    run(recipe(method), tmp_path / "plain", folder=tmp_path)
    assert kept("prefix") == [12, 12, 24] and kept("pixels") == [12, 12, 24]


@pytest.mark.parametrize(
    ("sections", "where"),
    [
        ({"augment": {"cutmix": True}, "objective": {"r_drop": 1.0}}, "objective.r_drop"),
        ({"augment": {"mixup": 0.2}, "objective": {"r_drop": 1.0}}, "objective.r_drop"),
        ({"augment": {"flip": 0.5, "share": 0.3}}, "augment"),
        ({"augment": {"colour": {"brightness": 0, "contrast": 0, "saturation": 0}}}, "augment.colour"),
    ],
    ids=lambda value: "" if isinstance(value, str) else "-".join(value.get("augment", {})),
)
def test_what_does_not_go_together_is_refused(recipe, tmp_path, sections, where):
    with pytest.raises(RecipeError) as told:
        made = recipe(**sections)
        check(made, tmp_path, made.all_methods)
    assert where in str(told.value) and told.value.fix


@pytest.mark.parametrize("option", ["crop", "flip", "colour", "rand_augment", "cutmix"])
def test_options_of_images_are_refused_for_texts(tmp_path, tiny_bert, option):
    table = tmp_path / "rows.csv"
    table.write_text("text,label\n" + "".join(f"row {number},{'ab'[number % 2]}\n" for number in range(40)))
    made = recipe_from(
        {
            "model": str(tiny_bert),
            "method": "full",
            "data": {"train": str(table), "label": "label"},
            "augment": {option: True},
        }
    )
    with pytest.raises(RecipeError, match="for images") as told:
        check(made, tmp_path, made.all_methods)
    assert told.value.where == f"augment.{option}"


def test_an_estimate_carries_out_steps_with_augmentation(recipe, tmp_path, monkeypatch):
    from tunewise.comparison.worker import Task
    from tunewise.engine.device import Tuned
    from tunewise.estimation.answers import Question
    from tunewise.estimation.run_cost import measure

    made = recipe({"last_k": {"k": 1}}, augment={**ALL, "mixup": 0.2}).anchored(tmp_path)
    tuned = {"device": "cpu", "precision": "fp32", "threads": 1}
    record = run(made, tmp_path / "run", folder=tmp_path, tuned=Tuned.from_dict(tuned))
    found = check(made, tmp_path, made.all_methods).found
    task = Task(
        recipe=made.as_dict(), out="", folder=str(tmp_path), tuned=tuned, found=found, allow_code=False, packages=()
    )
    (tmp_path / "scratch").mkdir()
    monkeypatch.setenv("TUNEWISE_CACHE", str(tmp_path / "cache of the estimate"))
    cost = measure(Question(task, str(tmp_path / "scratch"), 0.2, reserve_bytes=0), lambda words: None)
    assert cost.forward_flops == pytest.approx(record.costs.forward_flops)
    assert cost.backward_flops == pytest.approx(record.costs.backward_flops)
    assert not any("texts" in note for note in cost.notes)


def leaning(generator: np.random.Generator, side: int, size: int = 32) -> Image.Image:
    """A bar that leans to one side, of any colour, anywhere, on another: only its direction tells the class."""
    image = Image.new("RGB", (size, size), tuple(generator.integers(0, 256, 3).tolist()))
    x, y = generator.integers(8, size - 8, 2).tolist()
    across = (5 if side == 0 else -5) + int(generator.integers(-2, 3))
    colour = tuple(generator.integers(0, 256, 3).tolist())
    ImageDraw.Draw(image).line((x - across, y - 7, x + across, y + 7), fill=colour, width=4)
    return image


@pytest.mark.slow
def test_augmentation_helps_where_it_says_what_does_not_matter(recipe, tmp_path):
    """48 bars of any colour to train on: with other colours in each epoch, colour is learnt to say nothing."""
    generator = np.random.default_rng(0)
    for split, rows in (("train", 24), ("val", 60), ("test", 100)):
        for side, name in enumerate(("left", "right")):
            folder = tmp_path / "bars" / split / name
            folder.mkdir(parents=True)
            for number in range(rows):
                (folder / f"{number:03}.png").write_bytes(file_of(leaning(generator, side)))

    def accuracy(name: str, seed: int, **augment: Any) -> float:
        made = recipe(
            family="resnet",
            folder=tmp_path / "bars",
            augment=augment,
            seed=seed,
            train={"epochs": 40, "learning_rate": 3e-3, "batch_norm": "updated"},
        )
        record = run(made, tmp_path / f"{name}{seed}", folder=tmp_path, stop=Stop())
        return record.scores["test"]["accuracy"].value

    colour = {"brightness": 0.6, "contrast": 0.6, "saturation": 0.6, "hue": 0.5}
    plain, coloured = (
        np.mean([accuracy(name, seed, **augment) for seed in range(2)])
        for name, augment in (("plain", {}), ("coloured", {"colour": colour}))
    )
    print(plain, coloured)
    assert coloured > plain + 0.03 and coloured > 0.65
