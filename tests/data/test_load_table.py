"""How a source is found: file names, formats, folders, examples."""

from __future__ import annotations

import os
import subprocess
import sys

import datasets
import pyarrow as pa
import pyarrow.parquet as pq
import pytest

from tunewise.data.load import load_table
from tunewise.data.settings import DataConfig
from tunewise.errors import DataError


def load(folder, source, **options):
    return load_table(DataConfig(train=source, label="label", **options), source, folder, "train")


def test_every_format_gives_the_same_table(tmp_path):
    (tmp_path / "a.csv").write_text("text,label\nhello,x\nbye,y\n")
    (tmp_path / "a.TSV").write_text("text\tlabel\nhello\tx\nbye\ty\n")
    (tmp_path / "a.jsonl").write_text('{"text": "hello", "label": "x"}\n{"text": "bye", "label": "y"}\n')
    columns = {"text": ["hello", "bye"], "label": ["x", "y"]}
    pq.write_table(pa.table(columns), tmp_path / "a.parquet")
    datasets.Dataset.from_dict(columns).save_to_disk(str(tmp_path / "saved@home"))
    for name in ("a.csv", "a.TSV", "a.jsonl", "a.parquet", "saved@home", str(tmp_path / "a.csv")):
        table = load(tmp_path, name)
        assert {column: list(cells) for column, cells in table.columns.items()} == columns
        assert table.source == name


def test_options_of_text_files(tmp_path):
    (tmp_path / "rows").write_bytes('é;"a\nb;c\n'.encode("latin-1"))
    table = load(tmp_path, "rows", format="csv", delimiter=";", quotes=False, header=False, encoding="latin-1")
    assert dict(table.columns) == {"0": ("é", "b"), "1": ('"a', "c")}


def test_a_part_of_a_saved_dataset(tmp_path):
    parts = {name: datasets.Dataset.from_dict({"text": [name]}) for name in ("train", "extra")}
    datasets.DatasetDict(parts).save_to_disk(str(tmp_path / "d"))
    assert load(tmp_path, "d@extra").columns["text"] == ["extra"]
    assert load(tmp_path, "d").columns["text"] == ["train"]


def test_the_example_ships_with_the_package(tmp_path):
    table = load(tmp_path, "example:customer-messages", delimiter=";", header=False)
    assert list(table.columns) == ["text", "intent", "urgency", "region"]
    assert len(table) >= 900
    with pytest.raises(DataError, match="the examples are 'customer-messages'"):
        load(tmp_path, "example:../settings")


@pytest.mark.parametrize(
    ("source", "options", "words"),
    [
        ("tikets.csv", {}, ("no file 'tikets.csv'", "data.train", "did you mean 'tickets.csv'?")),
        ("other/x.csv", {}, ("no file", "other is not there either")),
        ("zzzzzzz", {}, ("nothing of a similar name",)),
        ("notes", {}, ("does not tell", "set `format`")),
        ("book.xlsx", {}, ("does not tell", "Excel")),
        ("pipe.csv", {}, ("device or pipe",)),
        ("folder", {}, ("not one that `datasets` saved",)),
        ("folder", {"format": "csv"}, ("expected data of format csv, got a folder",)),
        ("tickets.csv", {"format": "datasets"}, ("format datasets, got a file",)),
        ("tickets.csv", {"format": "parquet"}, ("Parquet file cannot be read",)),
        ("https://x.org/a.csv", {}, ("web address", "download")),
        ("x" * 5000, {}, ("not a path",)),
        ("a\x00b.csv", {}, ("a\x00b.csv",)),
        ("", {}, ("",)),
    ],
)
def test_what_cannot_be_found(tmp_path, source, options, words):
    (tmp_path / "tickets.csv").write_text("text,label\na,b\n")
    (tmp_path / "notes").write_text("text,label\na,b\n")
    (tmp_path / "book.xlsx").write_bytes(b"PK\x03\x04")
    (tmp_path / "folder").mkdir()
    os.mkfifo(tmp_path / "pipe.csv")
    with pytest.raises(DataError) as caught:
        load(tmp_path, source, **options)
    for word in words:
        assert word in str(caught.value)
    assert caught.value.fix


def test_nothing_heavy_is_imported_for_a_csv_file(tmp_path):
    (tmp_path / "a.csv").write_text("text,label\n" + "hello you,x\nbye now,y\n" * 5 + "one more,x\nand more,y\n" * 5)
    code = (
        "import sys; from pathlib import Path; from tunewise.data.prepare import prepare;"
        "from tunewise.data.settings import DataConfig;"
        "import tunewise.data.draft;"
        f"prepare(DataConfig(train='a.csv', label='label', test='a.csv', validation='a.csv'), Path({str(tmp_path)!r}));"
        "print([m for m in ('torch', 'transformers', 'datasets', 'pandas', 'pyarrow', 'sklearn') if m in sys.modules])"
    )
    done = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True, check=True)
    assert done.stdout.strip() == "[]"
