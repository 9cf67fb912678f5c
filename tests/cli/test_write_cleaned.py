"""`tunewise check --write-cleaned`."""

from __future__ import annotations

import json
from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest
import yaml

from tunewise.data.prepare import prepare
from tunewise.recipe import load_recipe


@pytest.mark.parametrize("kind", [None, "csv", "jsonl"])
def test_the_recipe_that_is_printed_reads_the_same_data(
    recipe: Callable[..., Path], tunewise: Callable[..., Any], tmp_path: Path, kind: str | None
) -> None:
    path, out = recipe(), tmp_path / "clean"
    more = ["--as", kind] if kind else []
    done = tunewise("check", path, "--set", "data.clean.normalise=true", "--json", "--write-cleaned", out, *more)
    assert done.exit_code == 0, done.output
    assert json.loads(done.stdout)["findings"] is not None  # what is told of the files does not stand in the JSON
    assert {file.name for file in out.iterdir()} == {
        *(f"{name}.{kind or 'parquet'}" for name in ("train", "validation", "test")),
        "cleaning.json",
        "manifest.json",
    }
    printed = yaml.safe_load("\n".join(line[4:] for line in done.stderr.splitlines() if line.startswith("    ")))
    assert printed["data"]["clean"] == {"normalise": True}
    (out / "recipe.yaml").write_text(yaml.safe_dump({"model": "m", **printed}))
    wanted = prepare(load_recipe(path, ["data.clean.normalise=true"]).data, path.parent).fingerprint
    assert prepare(load_recipe(out / "recipe.yaml").data, out).fingerprint == wanted


def test_what_cannot_be_done_is_told_before_the_data_is_read(
    recipe: Callable[..., Path], tunewise: Callable[..., Any], tmp_path: Path
) -> None:
    path = recipe(data={"train": "nowhere.csv", "label": "x"})
    there = tunewise("check", path, "--write-cleaned", tmp_path)
    assert there.exit_code == 1 and "already there" in there.stderr
    alone = tunewise("check", path, "--as", "csv")
    assert alone.exit_code == 2 and "--write-cleaned DIR" in alone.stderr
    assert tunewise("check", path, "--write-cleaned", tmp_path / "x", "--as", "xlsx").exit_code == 2
