"""A run, and what it was estimated to cost, each with a cache of its own."""

from __future__ import annotations

from pathlib import Path

import pytest

from tunewise.check import check
from tunewise.comparison.worker import Task
from tunewise.engine.device import Tuned
from tunewise.estimation.answers import Question
from tunewise.estimation.run_cost import RunCost, measure
from tunewise.recipe import Recipe
from tunewise.run import run


def assert_flops_are_estimated(recipe: Recipe, folder: Path, monkeypatch: pytest.MonkeyPatch) -> RunCost:
    """The estimate, whose FLOPs must be those of the run; both leave their files in `folder`."""
    made = recipe.anchored(folder)
    tuned = {"device": "cpu", "precision": "fp32", "threads": 1}
    monkeypatch.setenv("TUNEWISE_CACHE", str(folder / "cache of the run"))
    record = run(made, folder / "run", folder=folder, tuned=Tuned.from_dict(tuned))
    found = check(made, folder, made.all_methods).found
    task = Task(
        recipe=made.as_dict(), out="", folder=str(folder), tuned=tuned, found=found, allow_code=False, packages=()
    )
    (folder / "scratch").mkdir()
    monkeypatch.setenv("TUNEWISE_CACHE", str(folder / "cache of the estimate"))
    cost = measure(Question(task, str(folder / "scratch"), 0.2, reserve_bytes=0), lambda words: None)
    assert cost.forward_flops == pytest.approx(record.costs.forward_flops)
    assert cost.backward_flops == pytest.approx(record.costs.backward_flops)
    return cost
