"""`tunewise check --suspects`: the list that is written is the list that data.clean.labels reads."""

from __future__ import annotations

import csv
from pathlib import Path

import pytest

from tunewise.api import load_recipe
from tunewise.cli.checking import check_recipe
from tunewise.data.prepare import prepare
from tunewise.errors import RecipeError

WRONG = (7, 33, 61, 90, 120, 150, 177)


def write_recipe(folder: Path, model: Path, more: str = "") -> Path:
    words = ("great lovely fine", "awful broken bad", "where parcel late")
    lines = []
    for row in range(1, 241):
        kind = row % 3
        label = (kind + 1) % 3 if row in WRONG else kind
        lines.append(f"{words[kind]} order {row},{'abc'[label]}\n")
    (folder / "data.csv").write_text("text,label\n" + "".join(lines))
    recipe = folder / "recipe.yaml"
    recipe.write_text(f"model: {model}\ndata:\n  train: data.csv\n  label: label\n{more}")
    return recipe


def test_written_looked_through_and_given_back(tmp_path, tiny_bert, capsys):
    recipe, out = write_recipe(tmp_path, tiny_bert), tmp_path / "suspects.csv"
    assert check_recipe(load_recipe(recipe), tmp_path, None, False, suspects=out)
    assert f"labels that are likely wrong: {out}" in capsys.readouterr().out
    with out.open(newline="") as file:
        lines = list(csv.DictReader(file))
    assert {int(line["row"]) for line in lines} <= set(WRONG) and len(lines) >= 5
    assert [float(line["quality"]) for line in lines] == sorted(float(line["quality"]) for line in lines)
    assert {line["source"] for line in lines} == {"train"} and {line["action"] for line in lines} == {""}

    recipe = write_recipe(tmp_path, tiny_bert, "  clean: {labels: {file: suspects.csv, do: relabel}}\n")
    data = prepare(load_recipe(recipe).data, tmp_path)
    (step,) = (step for step in data.steps if step.name == "corrected labels")
    assert f"{len(lines)} labels were corrected" in step.reason
    corrected = {int(line["row"]) for line in lines}
    for split in data.splits.values():
        for row, target in zip(split.rows.tolist(), split.targets, strict=True):
            right = "abc"[row % 3]
            assert (data.schema.labels[target] == right) == (row in corrected or row not in WRONG)


def test_refused_where_nothing_was_looked_for(tmp_path, tiny_bert):
    recipe = write_recipe(tmp_path, tiny_bert, "check: {skip: [label_errors]}\n")
    with pytest.raises(RecipeError, match="does not look for"):
        check_recipe(load_recipe(recipe), tmp_path, None, False, suspects=tmp_path / "suspects.csv")
    recipe = write_recipe(tmp_path, tiny_bert)
    (tmp_path / "data.csv").write_text("text,label\n" + "".join(f"word {n},{'ab'[n % 2]}\n" for n in range(8)))
    with pytest.raises(RecipeError, match="5 different texts"):
        check_recipe(load_recipe(recipe), tmp_path, None, False, suspects=tmp_path / "suspects.csv")
    assert not (tmp_path / "suspects.csv").exists()
