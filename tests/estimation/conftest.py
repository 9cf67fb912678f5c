"""A table of texts, a recipe for it with a tiny model, and what a run of it costs: estimated, and for real."""

from __future__ import annotations

import csv
from collections.abc import Callable
from dataclasses import replace
from pathlib import Path
from typing import Any

import pytest

from tunewise.check import check
from tunewise.comparison.worker import Task
from tunewise.estimation.answers import Question, RunCost
from tunewise.recipe import Recipe, recipe_from
from tunewise.run import run
from tunewise.tracking.record import RunRecord

TUNED = {"device": "cpu", "precision": "fp32", "threads": 1}


@pytest.fixture(scope="session")
def table(tmp_path_factory: pytest.TempPathFactory, toy_data: Callable[..., Any]) -> Path:
    """90 rows of very different lengths, in a folder of their own."""
    path = tmp_path_factory.mktemp("table") / "table.csv"
    data = toy_data("classification", train=60, held_out=15)
    with path.open("w", newline="", encoding="utf-8") as file:
        writer = csv.writer(file)
        writer.writerow(["message", "intent"])
        for split in data.splits.values():
            for number, ((text,), target) in enumerate(zip(split.texts, split.targets, strict=True)):
                writer.writerow(
                    [f"{text} {' '.join(['again'] * (number % 7 * 3))} {number}", data.schema.labels[target]]
                )
    return path


@pytest.fixture
def recipe(table: Path, tiny_bert: Path) -> Callable[..., Recipe]:
    """`recipe(method, **train)`: of one run, or with `methods` of a comparison."""

    def make(method: Any = "head", methods: list[Any] | None = None, **train: Any) -> Recipe:
        chosen = {"methods": methods} if methods else {"method": method}
        size = {} if "batch_tokens" in train else {"batch_size": 8}
        return recipe_from(
            {
                "model": str(tiny_bert),
                "data": {"train": str(table), "text": "message", "label": "intent"},
                "train": {"epochs": 2, "threads": 1, "precision": "fp32", **size, **train},
                "evaluate": {"resamples": 100},
                "seeds": 1,
                **chosen,
            }
        )

    return make


@pytest.fixture
def question(tmp_path: Path) -> Callable[..., Question]:
    """`question(recipe, budget=...)`: what would this run cost?"""

    def make(recipe: Recipe, budget: float = 0.5, **more: Any) -> Question:
        checked = check(recipe, tmp_path, recipe.all_methods)
        task = Task(
            recipe=recipe.as_dict(),
            out="",
            folder=str(tmp_path),
            tuned=TUNED,
            found=checked.found,
            allow_code=False,
            packages=(),
        )
        scratch = tmp_path / "scratch"
        scratch.mkdir(exist_ok=True)
        return Question(replace(task, **more), str(scratch), budget, reserve_bytes=0)

    return make


@pytest.fixture
def estimated(
    question: Callable[..., Question], tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> Callable[..., RunCost]:
    """`estimated(recipe)`: what the run would cost, found out in this process, with an empty cache."""

    def ask(recipe: Recipe, **more: Any) -> RunCost:
        from tunewise.estimation.run_cost import measure

        monkeypatch.setenv("TUNEWISE_CACHE", str(tmp_path / "cache of the estimate"))
        return measure(question(recipe, **more), lambda words: None)

    return ask


@pytest.fixture
def real(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Callable[[Recipe], RunRecord]:
    """`real(recipe)`: the record of the run, with an empty cache."""

    def carry_out(recipe: Recipe) -> RunRecord:
        from tunewise.engine.device import Tuned

        monkeypatch.setenv("TUNEWISE_CACHE", str(tmp_path / "cache of the run"))
        return run(recipe, tmp_path / "run", folder=tmp_path, tuned=Tuned.from_dict(TUNED))

    return carry_out
