"""What the tests of image generation share: tiny pipelines and small images, made once."""

from __future__ import annotations

from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest
from tiny_pipelines import TRAIN, digits, pipeline

from tunewise.recipe import Recipe, recipe_from


@pytest.fixture(scope="session")
def base(tmp_path_factory: pytest.TempPathFactory) -> Path:
    return pipeline(tmp_path_factory.mktemp("pipelines") / "plain")


@pytest.fixture(scope="session")
def of_classes(tmp_path_factory: pytest.TempPathFactory) -> Path:
    return pipeline(tmp_path_factory.mktemp("pipelines") / "classes", num_class_embeds=10)


@pytest.fixture(scope="session")
def images(tmp_path_factory: pytest.TempPathFactory) -> Path:
    return digits(tmp_path_factory.mktemp("images") / "digits")


@pytest.fixture(scope="session")
def make_recipe(base: Path, images: Path) -> Callable[..., Recipe]:
    def make(method: Any = "full", model: Path = base, **sections: Any) -> Recipe:
        data = {"train": str(images), "task": "image_generation", **sections.pop("data", {})}
        train = {**TRAIN, "epochs": 2, **sections.pop("train", {})}
        evaluate = {"resamples": 100, "drawing": None, **sections.pop("evaluate", {})}
        whole = {"model": str(model), "method": method, "data": data, "train": train, "evaluate": evaluate}
        return recipe_from({**whole, **sections})

    return make
