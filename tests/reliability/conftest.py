"""A small recipe on toy data, and processes that run a function of a test module, forked with all imports done."""

from __future__ import annotations

import csv
from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest

from tunewise.recipe import Recipe, recipe_from
from tunewise.types import DataBundle


@pytest.fixture
def recipe(
    tiny_model: Callable[..., Path], toy_data: Callable[..., DataBundle], tmp_path: Path
) -> Callable[..., Recipe]:
    """`recipe(method, **train)`: a recipe on a table of 84 rows, with a BERT of 2 blocks; dropout is on, so that the
    state of the random numbers counts. `recipe(methods=[...])` names several."""
    path = tmp_path / "toy.csv"
    if not path.is_file():
        data = toy_data()
        with open(path, "w", newline="", encoding="utf-8") as file:
            writer = csv.writer(file)
            writer.writerow(["message", "label"])
            for split in data.splits.values():
                for (text,), target in zip(split.texts, split.targets, strict=True):
                    writer.writerow([text, data.schema.labels[int(target)]])

    def make(method: Any = None, methods: Any = None, seeds: int = 1, **train: Any) -> Recipe:
        settings = {
            **({} if "max_steps" in train else {"epochs": 2}),
            **{"batch_size": 8, "threads": 1, "precision": "fp32", "dropout": 0.2, "learning_rate": 2e-3},
        }
        content = {
            "model": str(tiny_model("bert", 2)),
            "data": {"train": str(path), "label": "label"},
            "train": {**settings, **train},
            "evaluate": {"resamples": 100},
            "seeds": seeds,
            **({"methods": methods} if methods else {"method": method}),
        }
        return recipe_from(content)

    return make
