"""JSON lines, against json.dumps and against hand-made damage."""

from __future__ import annotations

import json

import pytest

from tunewise.data.jsonl import read_jsonl
from tunewise.data.table import as_text
from tunewise.errors import DataError


def read(text: str):
    return read_jsonl(text.encode(), "f.jsonl")


def test_values_are_those_that_json_wrote():
    rows = [{"text": "a\u2028b", "label": 1}, {"text": "ünï \U0001f600", "extra": [1, {"k": None}]}, {"label": None}]
    table = read("\n".join(json.dumps(row) for row in rows) + "\r\n\n")
    assert list(table.columns) == ["text", "label", "extra"]
    for name, cells in table.columns.items():
        assert cells == [row.get(name) for row in rows]
    assert table.note == "1 blank line passed over"


@pytest.mark.parametrize("indent", [None, 2])
def test_a_json_list_of_objects_is_a_table_too(indent):
    rows = [{"a": "x", "b": [1, {"c": None}]}, {"a": "y\n"}]
    table = read(json.dumps(rows, indent=indent) + "\n")
    assert table.columns == {"a": ["x", "y\n"], "b": [[1, {"c": None}], None]}
    assert table.note == "a JSON list of objects"


@pytest.mark.parametrize(
    ("text", "words"),
    [
        ("", ("empty (0 bytes)",)),
        ('{"a": 1}\n{"a": ', ("row 2 (line 2)", "last line is cut off")),
        ('{"a": 1}\n\n{"a" 2}\n{"a": 3}\n', ("row 2 (line 3)", "not JSON", "character 6")),
        ('[{"a": 1}, {"a": 2', ("line 1", "cut off or not JSON", "one object per line")),
        ('[\n{"a": 1},\n{"a": 1, "a": 2}\n]\n', ("'a' stands twice",)),
        ('[{"a": 1}, 2]', ("row 2", "got number")),
        ('[{"a": NaN}]', ("NaN", "null")),
        ("[1, 2]\n", ("row 1 (line 1)", "got number")),
        ("[1, 2]\n[3, 4]\n", ("row 1 (line 1)", "got list")),
        ('[{"a": 1}]\n[{"a": 2}]\n', ("one JSON array", "its own line")),
        ('{"a": 1}\n"text"\n', ("row 2 (line 2)", "got text")),
        ('{"a": NaN}\n', ("row 1 (line 1)", "NaN", "null")),
        ('{"a": -Infinity}\n', ("-Infinity",)),
        ('{"a": 1, "a": 2}\n', ("'a' stands twice",)),
        ('{"a": "x"}\n{"a": "\\ud800"}\n', ("row 2, column 'a'", "surrogate")),
        ('{"\\ud800": "x"}\n', ("surrogate", "column name")),
        ('{"a": ' + "[" * 100_000 + "]" * 100_000 + "}", ("row 1 (line 1)", "100 deep")),
        ('{"a": ' + "[" * 150 + "]" * 150 + "}", ("100 deep",)),
        ("[" * 100_000, ("100 deep",)),
        ('{"a": ' + "9" * 5000 + "}", ("row 1 (line 1)", "4300 digits")),
        ("{}\n{}\n", ("no keys",)),
        ("".join(f'{{"k{n}": 1}}\n' for n in range(4000)), ("4,000 different keys, 1.0 in each", "as a value")),
        ("{" + ",".join(f'"k{n}": 1' for n in range(100_000)) + ', "k99999": 2}', ("'k99999' stands twice",)),
        ('{"a": "' + "x" * 1_000_001 + '"}', ("row 1, column 'a'", "1,000,001 characters")),
    ],
)
def test_damage_is_named_with_its_place(text, words):
    with pytest.raises(DataError) as caught:
        read(text)
    for word in (*words, "f.jsonl"):
        assert word in str(caught.value)
    assert caught.value.fix
    assert len(str(caught.value)) < 600


def test_cells_as_strings():
    pairs = [
        (None, ""),
        (True, "true"),
        (1, "1"),
        (1.0, "1"),
        (0.5, "0.5"),
        ([1, "é"], '[1, "é"]'),
        (b"ab", "<2 bytes>"),
    ]
    assert [as_text(cell) for cell, _ in pairs] == [text for _, text in pairs]
