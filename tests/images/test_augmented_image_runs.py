"""Whole runs on images with augmentation: told, refused, kept from the cache, estimated, resumed."""

from __future__ import annotations

from collections.abc import Callable
from pathlib import Path
from typing import Any

import numpy as np
import pytest
from image_files import file_of, write_photos
from PIL import Image

from tests.estimated_run import assert_flops_are_estimated
from tunewise.check import check
from tunewise.commit import default_cache
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
    made = recipe({"last_k": {"k": 1}}, augment={**ALL, "mixup": 0.2})
    cost = assert_flops_are_estimated(made, tmp_path, monkeypatch)
    assert not any("texts" in note for note in cost.notes)


def half_lit(generator: np.random.Generator, side: int, red: bool, size: int = 16) -> Image.Image:
    """The upper or the lower half is brighter, in red or blue."""
    values = generator.integers(0, 60, (size, size, 3), dtype=np.uint8)
    half = slice(0, size // 2) if side == 0 else slice(size // 2, size)
    values[..., 0 if red else 2] += 60
    values[half] += 50
    return Image.fromarray(values)


@pytest.mark.slow
def test_colours_that_change_are_not_learnt(recipe, tmp_path):
    """In training, the colour tells the class as well as the lit half does; in the test it says the opposite,
    and nothing in validation."""
    generator = np.random.default_rng(0)
    for split, rows in (("train", 32), ("val", 16), ("test", 60)):
        for side, name in enumerate(("upper", "lower")):
            folder = tmp_path / "lamps" / split / name
            folder.mkdir(parents=True)
            for number in range(rows):
                red = {"train": side == 0, "val": number % 2 == 0, "test": side == 1}[split]
                (folder / f"{number:03}.png").write_bytes(file_of(half_lit(generator, side, red)))

    def accuracy(name: str, **augment: Any) -> float:
        made = recipe(folder=tmp_path / "lamps", augment=augment, train={"epochs": 25})
        return run(made, tmp_path / name, folder=tmp_path).scores["test"]["accuracy"].value

    plain, coloured = accuracy("plain"), accuracy("coloured", colour={"hue": 0.5})
    assert plain < 0.6 and coloured > 0.8, (plain, coloured)
