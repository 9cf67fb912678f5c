"""A list of suspected labels: what it says is done with exactly the rows it was made of, and anything else refused."""

from __future__ import annotations

from pathlib import Path

import pytest

from tunewise.cleaning.label_list import COLUMNS, text_digest, unguarded
from tunewise.cleaning.settings import CleanConfig
from tunewise.cli.predicting import csv_line
from tunewise.data.prepare import prepare
from tunewise.data.settings import DataConfig
from tunewise.errors import DataError, RecipeError
from tunewise.recipe import recipe_from

ROWS = [(f"message number {n}", "good" if n % 2 else "bad") for n in range(40)]


def write_data(folder: Path, rows=ROWS, name: str = "data.csv") -> None:
    (folder / name).write_text("text,label\n" + "".join(f"{text},{label}\n" for text, label in rows))


def line(number: int, suggested="good", action="", *, source="train", quality=0.1, rows=ROWS, **other) -> list:
    text, given = rows[number - 1]
    cells = dict(source=source, row=number, sha256=text_digest((text,)), text=text, given=given,
                 suggested=suggested, quality=quality, action=action)  # fmt: skip
    return [{**cells, **other}[name] for name in COLUMNS]


def write_list(folder: Path, *lines: list) -> None:
    (folder / "suspects.csv").write_text("".join(csv_line(cells) for cells in [list(COLUMNS), *lines]))


def prepared(folder: Path, labels="suspects.csv", **options):
    config = DataConfig.model_validate({"train": "data.csv", "label": "label", "clean": {"labels": labels}, **options})
    return prepare(config, folder)


def labels_of(data) -> dict[int, str]:
    return {
        int(row): data.schema.labels[target]
        for split in data.splits.values()
        for row, target in zip(split.rows, split.targets, strict=True)
    }


def test_each_row_gets_what_its_action_says_and_is_told(tmp_path):
    write_data(tmp_path)
    write_list(tmp_path, line(1, action="relabel"), line(3, action=" Drop "), line(5))
    data = prepared(tmp_path)
    labels = labels_of(data)
    assert labels[1] == "good" and 3 not in labels and labels[5] == "bad"
    assert len(labels) == 39 and {labels[row] for row in (2, 4)} == {"good"}
    steps = {step.name: step for step in data.steps}
    assert (steps["corrected labels"].rows_in, steps["corrected labels"].rows_out) == (40, 40)
    assert "1 labels were corrected as suspects.csv says: row 1" in steps["corrected labels"].reason
    assert (steps["suspected labels"].rows_in, steps["suspected labels"].rows_out) == (40, 39)
    assert "row 3; left out" in steps["suspected labels"].reason


def test_do_is_for_rows_without_an_action_up_to_a_quality(tmp_path):
    write_data(tmp_path)
    write_list(tmp_path, line(1, quality=0.05), line(3, quality=0.3), line(5, action="drop", quality=0.4))
    labels = labels_of(prepared(tmp_path, {"file": "suspects.csv", "do": "relabel", "at_most": 0.1}))
    assert labels[1] == "good" and labels[3] == "bad" and 5 not in labels
    labels = labels_of(prepared(tmp_path, {"file": "suspects.csv", "do": "drop"}))
    assert not {1, 3, 5} & set(labels)


def test_every_named_source_is_corrected_before_splits_are_cut_off(tmp_path):
    write_data(tmp_path)
    held = [(f"held {n}", "good" if n % 2 else "bad") for n in range(10)]
    write_data(tmp_path, held, "test.csv")
    write_list(tmp_path, line(1, action="drop"), line(1, action="relabel", source="newer", rows=held))
    data = prepared(tmp_path, test={"newer": "test.csv"})
    assert 1 not in labels_of(data) or data.splits["newer"].rows[0] == 1
    assert data.schema.labels[data.splits["newer"].targets[0]] == "good"
    assert sum(len(data.splits[name]) for name in ("train", "validation")) == 39


def test_several_labels_and_numbers(tmp_path):
    (tmp_path / "data.csv").write_text("text,label\n" + "".join(f"message number {n},a|b\n" for n in range(20)))
    rows = [(f"message number {n}", '["b", "a"]') for n in range(20)]
    write_list(tmp_path, line(2, '["b"]', "relabel", rows=rows), line(3, "[]", "relabel", rows=rows))
    data = prepared(tmp_path, task="multilabel", label_separator="|")
    marks = {int(row): tuple(m) for s in data.splits.values() for row, m in zip(s.rows, s.targets, strict=True)}
    assert marks[2] == (0, 1) and marks[3] == (0, 0) and marks[4] == (1, 1)
    (tmp_path / "data.csv").write_text("text,label\n" + "".join(f"message number {n},{n}.5\n" for n in range(20)))
    write_list(tmp_path, line(2, 77.25, "relabel", rows=rows))
    data = prepared(tmp_path, task="regression")
    assert {int(r): float(v) for s in data.splits.values() for r, v in zip(s.rows, s.targets, strict=True)}[2] == 77.25


def test_as_a_spreadsheet_saves_it(tmp_path):
    rows = [("=1+1 message", "-x"), *ROWS[1:19], ("last", "-x"), *ROWS[20:]]
    write_data(tmp_path, rows)
    write_list(tmp_path, line(1, "good", "relabel", rows=rows, given="-x"))
    assert (
        "'=1+1 message" in (tmp_path / "suspects.csv").read_text() and "'-x" in (tmp_path / "suspects.csv").read_text()
    )
    assert labels_of(prepared(tmp_path))[1] == "good"
    saved = "\ufeff" + (tmp_path / "suspects.csv").read_text().replace(",", ";").replace("0.1", "0,1")
    (tmp_path / "suspects.csv").write_text(saved.replace("\n", "\r\n"), newline="")
    assert labels_of(prepared(tmp_path))[1] == "good"
    assert [unguarded(cell) for cell in ("'=a", "' +b", "'s", "=a", "'")] == ["=a", " +b", "'s", "=a", "'"]


@pytest.mark.parametrize(
    ("cells", "what"),
    [
        ({"sha256": "sha256:0"}, "another text"),
        ({"given": "good"}, "another label"),
        ({"row": 41}, "no row 41"),
        ({"row": "one"}, "expected a number, got 'one'"),
        ({"quality": "low"}, "expected a number, got 'low'"),
        ({"suggested": "godo"}, "did you mean 'good'"),
        ({"suggested": ""}, "expected a label"),
        ({"action": "delete"}, "expected drop, relabel or nothing"),
        ({"source": "test"}, "no source 'test'; it has train"),
        ({"action": ""}, "no line says what to do"),
    ],
)
def test_what_does_not_fit_is_refused(tmp_path, cells, what):
    write_data(tmp_path)
    write_list(tmp_path, line(1, **{"action": "relabel", **cells}))
    with pytest.raises(DataError, match=what) as caught:
        prepared(tmp_path)
    assert caught.value.where and caught.value.fix


def test_other_lists_are_refused(tmp_path):
    write_data(tmp_path)
    with pytest.raises(DataError, match="cannot be read"):
        prepared(tmp_path)
    write_list(tmp_path, line(1, action="drop"), line(1, action="relabel"))
    with pytest.raises(DataError, match="row 1 of train stands twice"):
        prepared(tmp_path)
    (tmp_path / "suspects.csv").write_text("source,row\ntrain,1\n")
    with pytest.raises(DataError, match="no column 'sha256'"):
        prepared(tmp_path)
    (tmp_path / "data.jsonl").write_text('{"tokens": ["a", "b"], "tags": ["O", "B-x"]}\n' * 20)
    write_list(tmp_path, line(1, action="drop"))
    with pytest.raises(DataError, match="labels of words"):
        prepared(tmp_path, train="data.jsonl", label="tags")


@pytest.mark.parametrize(
    "labels", [{"file": "a", "at_most": 0.5}, {"file": "a", "do": "keep"}, {}, {"file": "a", "at_most": 2}]
)
def test_bad_options(labels):
    with pytest.raises(RecipeError):
        recipe_from({"model": "m", "data": {"train": "d.csv", "clean": {"labels": labels}}})


def test_the_list_is_found_from_any_folder(tmp_path):
    write_data(tmp_path)
    write_list(tmp_path, line(3, action="drop"))
    recipe = recipe_from(
        {"model": "m", "data": {"train": "data.csv", "label": "label", "clean": {"labels": "suspects.csv"}}}
    )
    assert recipe_from(recipe.as_dict()) == recipe
    moved = recipe.anchored(tmp_path)
    assert 3 not in labels_of(prepare(moved.data, Path("/")))
    assert CleanConfig().anchored(str) == CleanConfig()
