"""`data.sensitive`: columns that tell groups of rows, refused where they cannot."""

from __future__ import annotations

import json
from pathlib import Path
from typing import Any

import pytest

from tunewise.data.prepare import prepare
from tunewise.data.settings import DataConfig
from tunewise.errors import DataError, RecipeError
from tunewise.recipe import recipe_from

ROWS = [f"text {row},{'xy'[row % 2]},{'ns'[row % 2]}" for row in range(30)]


def read(tmp_path: Path, **options: Any) -> Any:
    (tmp_path / "rows.csv").write_text("\n".join(["text,label,region", *ROWS]))
    return prepare(DataConfig(train="rows.csv", **{"text": "text", "label": "label", **options}), tmp_path)


def test_the_cells_go_along_in_every_split(tmp_path: Path) -> None:
    data = read(tmp_path, sensitive=["region"])
    for split in data.splits.values():
        assert list(split.columns["region"]) == ["ns"[(row - 1) % 2] for row in split.rows]


@pytest.mark.parametrize(
    ("column", "said"),
    [
        ("regoin", r"there is no column 'regoin'.*did you mean 'region'"),
        ("text", "column 'text' is named as sensitive and as text"),
        ("label", "column 'label' is named as sensitive and as label"),
    ],
)
def test_a_column_that_is_not_there_or_is_something_else(column: str, said: str, tmp_path: Path) -> None:
    with pytest.raises(DataError, match=f"(?s){said}"):
        read(tmp_path, sensitive=[column])


def test_it_must_be_in_every_source(tmp_path: Path) -> None:
    (tmp_path / "test.csv").write_text("text,label\na,x\nb,y\n")
    with pytest.raises(DataError, match="there is no column 'region'") as problem:
        read(tmp_path, sensitive=["region"], test="test.csv")
    assert "test.csv" in str(problem.value)


def test_lists_are_no_groups(tmp_path: Path) -> None:
    lines = [json.dumps({"text": f"t {row}", "label": "xy"[row % 2], "tags": ["a"]}) for row in range(30)]
    (tmp_path / "rows.jsonl").write_text("\n".join(lines))
    with pytest.raises(DataError, match="column 'tags' holds a list or an object"):
        prepare(DataConfig(train="rows.jsonl", text="text", label="label", sensitive=["tags"]), tmp_path)


def test_each_only_once() -> None:
    with pytest.raises(RecipeError, match="only once"):
        recipe_from({"model": "m", "data": {"train": "a.csv", "sensitive": ["a", "a"]}})
