"""What a user is told of the data before training begins, by `train` and by `compare`."""

from __future__ import annotations

import io
from pathlib import Path

from tunewise.check import check
from tunewise.cli.watching import Lines
from tunewise.recipe import recipe_from
from tunewise.tracking.data_lines import data_lines
from tunewise.types import DataStep


def test_every_step_but_the_usual_ones_is_told() -> None:
    steps = [
        DataStep("read", 9, 9, "f.csv: 9 rows"),
        DataStep("schema", 9, 9, "text 'a'"),
        DataStep("x", 9, 9, "y\x1b[2J\nz"),
    ]
    assert data_lines(steps) == ["data: x: y z"]


def test_a_comparison_tells_overlap_conflicts_and_repairs(tiny_bert: Path, tmp_path: Path) -> None:
    lines = [f"message {number},{('yes', 'no')[number % 2]}" for number in range(40)]
    train, test = [*lines, "message 0,no", "message 1,no", "nothing,"], [lines[4], "a new one,yes"]
    for name, rows, encoding in (("train", train, "utf-16"), ("test", test, "utf-8")):
        (tmp_path / f"{name}.csv").write_text("\n".join(["text,label", *rows]), encoding=encoding)
    data = {"train": "train.csv", "test": "test.csv", "text": "text", "label": "label"}
    recipe = recipe_from({"model": str(tiny_bert), "data": data, "methods": ["head"]})
    stream = io.StringIO()
    Lines(stream).on_plan(check(recipe, tmp_path, recipe.all_methods), [], 0, 1)
    told = {line.split(": ")[1]: line for line in stream.getvalue().splitlines() if line.count(": ") > 1}
    assert "train.csv: read as UTF-16" in told["repaired"]
    assert "row 43; left out" in told["missing label"]
    assert "1 of 42 rows repeat text and label of an earlier row: row 42" in told["repeated rows"]
    assert "2 rows share their text with a row of another label" in told["conflicting labels"]
    assert "1 of 2 rows of test (50.0%) have a text that is also in" in told["overlap"]
