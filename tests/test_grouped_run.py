"""A run on data that is split by group and by time: what its record keeps, and that the same recipe is the same run."""

from __future__ import annotations

import csv
from collections.abc import Callable
from pathlib import Path

import pytest
from typer.testing import CliRunner

from tunewise.cli.main import app
from tunewise.recipe import Recipe, recipe_from
from tunewise.run import run
from tunewise.tracking.record import read_record


@pytest.fixture
def recipe(tiny_model: Callable[..., Path], tmp_path: Path) -> Recipe:
    with (tmp_path / "data.csv").open("w", newline="", encoding="utf-8") as file:
        rows = [(f"the {'good' if n % 2 else 'bad'} one {n}", n % 2, f"c{n % 12}", f"2024-02-{1 + n // 3:02}") for n in
                range(60)]  # fmt: skip
        csv.writer(file).writerows([("text", "label", "customer", "day"), *rows])
    return recipe_from(
        {
            "model": str(tiny_model("bert", 2)),
            "method": "head",
            "data": {"train": "data.csv", "label": "label", "group": "customer"},
            "train": {"max_steps": 2, "batch_size": 8, "threads": 1, "precision": "fp32"},
            "evaluate": {"resamples": 100},
        }
    )


def test_the_record_keeps_how_the_data_was_split_and_new_files_need_no_groups(recipe: Recipe, tmp_path: Path) -> None:
    first = run(recipe, tmp_path / "one", folder=tmp_path)
    (step,) = [step for step in read_record(tmp_path / "one").data.steps if step["name"] == "split"]
    assert (step["rows_in"], step["rows_out"]) == (60, 40)
    assert step["reason"].startswith(
        "10 to test (16.7%), 10 to validation (16.7%); rows of one 'customer' together (8 in train, 2 in test, 2 in "
        "validation)"
    )
    again = run(recipe, tmp_path / "two", folder=tmp_path)
    assert first.data.fingerprint == again.data.fingerprint and first.scores == again.scores
    (tmp_path / "new.csv").write_text("text,label\nthe good one,1\nthe bad one,0\n")
    done = CliRunner().invoke(app, ["evaluate", str(tmp_path / "one"), "--data", str(tmp_path / "new.csv")])
    assert done.exit_code == 0, done.output


def test_another_way_to_split_is_another_fingerprint(recipe: Recipe, tmp_path: Path) -> None:
    by_time = recipe.model_copy(update={"data": recipe.data.model_copy(update={"group": None, "time": "day"})})
    records = [run(chosen, tmp_path / name, folder=tmp_path) for name, chosen in (("a", recipe), ("b", by_time))]
    assert len({record.data.fingerprint for record in records}) == 2
    (step,) = [step for step in records[1].data.steps if step["name"] == "split"]
    assert step["reason"].startswith(
        "12 to test (20.0%), from 2024-02-17 on; 9 to validation (15.0%), from 2024-02-14 on"
    )
