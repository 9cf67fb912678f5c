"""Whole runs on classes of unequal size: what the record tells, and that results are on the rows as they are."""

from __future__ import annotations

import csv
from collections import Counter
from collections.abc import Callable
from pathlib import Path
from typing import Any

import numpy as np
import pytest

from tunewise.recipe import Recipe, recipe_from
from tunewise.run import run
from tunewise.tracking.predictions import read_predictions
from tunewise.types import DataBundle

KEPT = {"refund": 28, "delivery": 12, "praise": 8}


@pytest.fixture
def recipe(
    tiny_model: Callable[..., Path], toy_data: Callable[..., DataBundle], tmp_path: Path
) -> Callable[..., Recipe]:
    """`recipe(method, **sections)`: a recipe on a table of 48 rows, of which 28, 12 and 8 are of a class."""

    def make(method: str, **sections: dict[str, Any]) -> Recipe:
        data, seen = toy_data(), Counter()
        with open(tmp_path / "toy.csv", "w", newline="", encoding="utf-8") as file:
            writer = csv.writer(file)
            writer.writerow(["message", "label"])
            for split in data.splits.values():
                for (text,), target in zip(split.texts, split.targets, strict=True):
                    name = data.schema.labels[target]
                    seen[name] += 1
                    if seen[name] <= KEPT[name]:
                        writer.writerow([text, name])
        train = {"max_steps": 3, "batch_size": 6, "threads": 1, "precision": "fp32", **sections.get("train", {})}
        return recipe_from(
            {
                "model": str(tiny_model("bert", 2)),
                "method": method,
                "data": {"train": "toy.csv", "label": "label", **sections.get("data", {})},
                "objective": sections.get("objective", {}),
                "train": train,
                "evaluate": {"resamples": 100},
            }
        )

    return make


CASES: dict[str, dict[str, dict[str, Any]]] = {
    "plain": {},
    "over": {"data": {"balance": "over"}},
    "under": {"data": {"balance": "under"}, "objective": {"focal_gamma": 2.0}},
    "effective": {"objective": {"class_weights": "effective", "effective_beta": 0.9, "focal_gamma": 2.0}},
    "batches": {"train": {"balanced_batches": True}},
}


@pytest.mark.parametrize("method", ["head", "features"])
def test_scores_are_on_the_same_rows_whatever_was_balanced(
    method: str, recipe: Callable[..., Recipe], tmp_path: Path
) -> None:
    records, held_out = {}, {}
    for case, sections in CASES.items():
        records[case] = run(recipe(method, **sections), tmp_path / case, folder=tmp_path)
        assert records[case].recipe.get("data", {}).get("balance") == sections.get("data", {}).get("balance")
        held_out[case] = {name: read_predictions(tmp_path / case, name) for name in ("validation", "test")}
    for case in CASES:
        for name, found in held_out[case].items():
            assert np.array_equal(found.rows, held_out["plain"][name].rows)
            assert np.array_equal(found.targets, held_out["plain"][name].targets)
    steps = {
        case: [step for step in record.data.steps if "balance" in step["name"]] for case, record in records.items()
    }
    assert {case: len(found) for case, found in steps.items()} == {**dict.fromkeys(CASES, 0), "over": 1, "under": 1}
    (over,), (under,) = steps["over"], steps["under"]
    assert over["rows_out"] > over["rows_in"] == under["rows_in"] > under["rows_out"]
    assert records["over"].data.rows["train"] == over["rows_out"]
    told = [warning for warning in records["batches"].warnings if warning.startswith("balanced batches")]
    assert len(told) == 1 and ("an epoch reads" in told[0]) == (method == "head")
    assert not [warning for warning in records["plain"].warnings if "balanced" in warning]
