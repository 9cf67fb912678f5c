"""Whatever the bytes: a table or a DataError, in no time."""

from __future__ import annotations

import csv
import io
import json

from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st

from tunewise.data.delimited import read_delimited
from tunewise.data.draft import draft_recipe
from tunewise.data.jsonl import read_jsonl
from tunewise.data.prepare import prepare
from tunewise.data.settings import DataConfig
from tunewise.errors import DataError
from tunewise.recipe import Recipe

ANY = settings(max_examples=150, deadline=2000, suppress_health_check=[HealthCheck.function_scoped_fixture])
FEW = settings(ANY, max_examples=60)
CELLS = st.text(st.characters(codec="utf-8", exclude_characters="\x00"), max_size=8)
PIECES = st.sampled_from(['"', ",", ";", "\n", "\r\n", "\r", "text", "label", "a b", "1", "0.5", "\ufeff", "é", "\x00"])
VALUES = st.recursive(
    st.none() | st.booleans() | st.integers() | st.floats() | st.text(max_size=5),
    lambda inner: st.lists(inner, max_size=2) | st.dictionaries(st.text(max_size=3), inner, max_size=2),
    max_leaves=5,
)


def attempt(action, *arguments, **options):
    """The result, or None where a DataError with a place or a remedy was raised."""
    try:
        return action(*arguments, **options)
    except DataError as error:
        assert error.what and (error.where or error.fix)
        str(error).encode()
        return None


@ANY
@given(
    data=st.binary(max_size=60) | st.lists(PIECES, max_size=30).map(lambda parts: "".join(parts).encode()),
    quotes=st.booleans(),
    header=st.booleans(),
    encoding=st.sampled_from([None, "utf-8", "utf-7", "utf-16", "cp1252", "idna", "punycode", "unicode_escape"]),
    delimiter=st.sampled_from([",", ";", "\t", " ", "a"]),
)
def test_any_bytes_as_csv(data, **options):
    table = attempt(read_delimited, data, "f.csv", **options)
    if table is not None:
        assert {len(cells) for cells in table.columns.values()} == {len(table)}


@ANY
@given(
    rows=st.lists(st.lists(CELLS, min_size=2, max_size=2), min_size=1, max_size=6), delimiter=st.sampled_from(",;\t")
)
def test_what_the_csv_module_writes_comes_back(rows, delimiter):
    file = io.StringIO(newline="")
    csv.writer(file, delimiter=delimiter, quoting=csv.QUOTE_ALL).writerows([["x", "y"], *rows])
    table = read_delimited(file.getvalue().encode(), "f.csv", delimiter=delimiter)
    assert [list(row) for row in zip(*table.columns.values(), strict=True)] == rows


@ANY
@given(
    lines=st.lists(
        VALUES.map(json.dumps)
        | st.dictionaries(st.sampled_from(["text", "label"]), VALUES).map(json.dumps)
        | st.text(max_size=10)
    ),
    cut=st.integers(0, 5),
)
def test_any_lines_as_json(lines, cut):
    text = "\n".join(lines)
    data = text[: len(text) - cut].encode("utf-8", "surrogatepass")
    table = attempt(read_jsonl, data, "f.jsonl")
    if table is not None:
        assert {len(cells) for cells in table.columns.values()} == {len(table)}


@FEW
@given(
    rows=st.lists(st.fixed_dictionaries({"text": st.text(max_size=4) | VALUES, "label": VALUES}), max_size=12),
    task=st.sampled_from([None, "classification", "multilabel", "regression"]),
    separator=st.sampled_from([None, "|"]),
)
def test_any_cells_are_prepared_or_refused(tmp_path, rows, task, separator):
    lines = [json.dumps(row) for row in rows if "NaN" not in json.dumps(row) and "Infinity" not in json.dumps(row)]
    (tmp_path / "f.jsonl").write_text("\n".join(lines))
    config = DataConfig(train="f.jsonl", text="text", label="label", task=task, label_separator=separator)
    data = attempt(prepare, config, tmp_path)
    if data is not None:
        left_out = sum(
            step.rows_in - step.rows_out for step in data.steps if step.name in ("empty text", "missing label")
        )
        assert sum(len(split) for split in data.splits.values()) == len(lines) - left_out


@FEW
@given(
    label=st.lists(st.sampled_from(["a", "b", "c", "", "A"]) | CELLS, min_size=1, max_size=25),
    limit=st.none() | st.integers(1, 30),
)
def test_any_classes_are_prepared_or_refused(tmp_path, label, limit):
    with (tmp_path / "f.csv").open("w", newline="", encoding="utf-8") as file:
        csv.writer(file, quoting=csv.QUOTE_ALL).writerows(
            [["text", "label"], *([f"text {number // 2}", name] for number, name in enumerate(label))]
        )
    config = DataConfig(train="f.csv", label="label", limit=limit, test="f.csv" if len(label) % 2 else None)
    data = attempt(prepare, config, tmp_path)
    if data is not None and data.schema.task == "classification":
        assert set(data.splits["train"].targets) == set(range(len(data.schema.labels)))


@FEW
@given(
    names=st.lists(CELLS, min_size=2, max_size=4),
    cells=st.lists(st.lists(CELLS | st.just("some words to read"), min_size=4, max_size=4), min_size=2, max_size=8),
)
def test_any_table_is_drafted_or_refused(tmp_path, names, cells):
    import yaml

    with (tmp_path / "f.csv").open("w", newline="", encoding="utf-8") as file:
        csv.writer(file, quoting=csv.QUOTE_ALL).writerows([names, *(row[: len(names)] for row in cells)])
    text = attempt(draft_recipe, "f.csv", "m", Recipe, tmp_path)
    if text is not None:
        Recipe.model_validate(yaml.safe_load(text))
