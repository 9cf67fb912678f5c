"""Folders of Parquet files: whole, in order, of one kind; anything else is an error."""

from __future__ import annotations

from pathlib import Path

import pyarrow as pa
import pyarrow.parquet as pq
import pytest

from tunewise.data.load import load_table
from tunewise.data.settings import DataConfig
from tunewise.errors import DataError


def write(folder: Path, name: str, texts, labels=None, **columns) -> None:
    folder.mkdir(exist_ok=True)
    pq.write_table(pa.table({"text": texts, "label": labels or ["x"] * len(texts), **columns}), folder / name)


def read(folder: Path, source: str = "d", purpose: str = "train", **options):
    return load_table(DataConfig(train=source, **options), source, folder, purpose)


def test_shards_are_read_in_the_order_of_their_names(tmp_path):
    for number in (2, 0, 1):
        write(tmp_path / "d", f"part-{number}.parquet", [f"{number}a", f"{number}b"])
    (tmp_path / "d" / "README.md").write_text("about it")
    table = read(tmp_path)
    assert table.columns["text"] == ["0a", "0b", "1a", "1b", "2a", "2b"]
    assert table.note == "3 shards, rows numbered through"
    assert read(tmp_path, format="parquet").columns == table.columns


def test_splits_by_the_names_of_files(tmp_path):
    for split, count in (("train", 2), ("test", 1)):
        for number in range(count):
            write(tmp_path / "d", f"{split}-{number:05}-of-{count:05}.parquet", [f"{split}{number}"])
    assert read(tmp_path).columns["text"] == ["train0", "train1"]
    assert read(tmp_path, purpose="test").columns["text"] == ["test0"]
    found = read(tmp_path, "d@test")
    assert found.columns["text"] == ["test0"]
    assert found.note == "split 'test'; also there, and not used: 'train'"
    with pytest.raises(DataError, match="no split 'validation'; the splits are"):
        read(tmp_path, purpose="validation")
    write(tmp_path / "e", "train.parquet", ["a"])
    write(tmp_path / "e", "dev.parquet", ["b"])
    assert read(tmp_path, "e").columns["text"] == ["a"] and read(tmp_path, "e@dev").columns["text"] == ["b"]
    with pytest.raises(DataError, match="there is no split 'x'"):
        write(tmp_path / "f", "one.parquet", ["a"])
        read(tmp_path, "f@x")


@pytest.mark.parametrize(
    ("names", "words"),
    [
        (
            ["train-00000-of-00003.parquet", "train-00002-of-00003.parquet"],
            "expected 3 shards(.|\n)*got 2(.|\n)*number 1",
        ),
        (["train-00001-of-00002.parquet"], "expected 2 shards(.|\n)*got 1(.|\n)*number 0"),
        (["train-00000-of-00001.parquet", "train-00001-of-00002.parquet"], "several sets of shards, of 1 and of 2"),
        (["train-00000-of-00001.parquet", "train.parquet"], "several sets of shards, of 1"),
        (["train.parquet", "more.parquet"], "some files are named after splits, and others are not: 'more.parquet'"),
    ],
)
def test_folders_that_are_not_whole(tmp_path, names, words):
    for name in names:
        write(tmp_path / "d", name, [name])
    with pytest.raises(DataError, match=words):
        read(tmp_path)


def test_shards_of_other_columns_are_refused_and_other_storage_is_not(tmp_path):
    folder = tmp_path / "d"
    write(folder, "a.parquet", ["a"], ["x"], n=pa.array([1], pa.int32()), l=pa.array([["p"]], pa.list_(pa.string())))
    same = {"n": pa.array([2], pa.int64()), "l": pa.array([["q"]], pa.large_list(pa.large_string()))}
    write(folder, "b.parquet", pa.array(["b"], pa.large_string()), pa.array(["y"]).dictionary_encode(), **same)
    write(folder, "c.parquet", ["c"], pa.array([None], pa.null()), **same)
    table = read(tmp_path)
    assert table.columns == {
        "text": ["a", "b", "c"],
        "label": ["x", "y", None],
        "n": [1, 2, 2],
        "l": [["p"], ["q"], ["q"]],
    }
    pq.write_table(pq.read_table(folder / "b.parquet").select(["l", "n", "label", "text"]), folder / "b.parquet")
    assert read(tmp_path).columns["text"] == ["a", "b", "c"]
    write(folder, "b.parquet", ["b"], ["y"], n=[2.5], l=same["l"])
    with pytest.raises(DataError, match="'n' is whole numbers in it, and numbers with fractions here") as caught:
        read(tmp_path)
    assert caught.value.where == "d/b.parquet" and "d/a.parquet" in caught.value.fix
    write(folder, "b.parquet", ["b"], ["y"], n=same["n"])
    with pytest.raises(DataError, match="'l' is lists of text in it, and not there here"):
        read(tmp_path)


def test_a_damaged_shard_is_named(tmp_path):
    write(tmp_path / "d", "a.parquet", ["a"])
    (tmp_path / "d" / "b.parquet").write_bytes((tmp_path / "d" / "a.parquet").read_bytes()[:-9])
    with pytest.raises(DataError, match="cannot be read") as caught:
        read(tmp_path)
    assert caught.value.where == "d/b.parquet"
