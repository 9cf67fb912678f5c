"""Parquet and folders of `datasets`, written by those libraries themselves."""

from __future__ import annotations

import datetime

import datasets
import pyarrow as pa
import pyarrow.parquet as pq
import pytest

from tunewise.data.columnar import read_dataset_folder, read_hub, read_parquet
from tunewise.errors import DataError


def test_parquet_types_become_plain_values(tmp_path):
    day = datetime.date(2024, 1, 2)
    columns = {
        "text": pa.array(["a", None, "c"], pa.large_string()),
        "label": pa.array(["x", "y", "x"]).dictionary_encode(),
        "uuid": pa.ExtensionArray.from_storage(pa.uuid(), pa.array([b"0" * 16, b"1" * 16, None], pa.binary(16))),
        "number": pa.array([1.0, 2.5, None]),
        "tags": pa.array([["p"], [], None]),
        "day": pa.array([day, None, day]),
    }
    path = tmp_path / "f.parquet"
    pq.write_table(pa.table(columns), path)
    table = read_parquet(path, "f.parquet")
    assert table.columns["text"] == ["a", None, "c"]
    assert table.columns["label"] == ["x", "y", "x"]
    assert table.columns["uuid"] == [b"0" * 16, b"1" * 16, None]
    assert table.columns["number"] == [1.0, 2.5, None]
    assert table.columns["tags"] == [["p"], [], None]
    assert table.columns["day"] == [day, None, day]


def test_damaged_parquet_is_named(tmp_path):
    path = tmp_path / "f.parquet"
    pq.write_table(pa.table({"text": ["a"] * 100}), path)
    whole = path.read_bytes()
    for data in (whole[:-10], whole[:50], b"text,label\na,b\n", whole[:-8] + b"\xff\xff\xff\x7fPAR1"):
        path.write_bytes(data)
        with pytest.raises(DataError, match=r"cannot be read") as caught:
            read_parquet(path, "f.parquet")
        assert caught.value.where == "f.parquet"
    path.write_bytes(b"")
    with pytest.raises(DataError, match=r"empty \(0 bytes\)"):
        read_parquet(path, "f.parquet")


def test_parquet_with_a_column_twice_or_no_rows(tmp_path):
    path = tmp_path / "f.parquet"
    pq.write_table(pa.table([pa.array([1]), pa.array([2])], names=["a", "a"]), path)
    with pytest.raises(DataError, match="stands 2 times"):
        read_parquet(path, "f.parquet")
    pq.write_table(pa.table({"a": pa.array([], pa.string())}), path)
    with pytest.raises(DataError, match="no rows"):
        read_parquet(path, "f.parquet")


def saved(folder, **parts):
    features = datasets.Features({"text": datasets.Value("string"), "label": datasets.ClassLabel(names=["no", "yes"])})
    made = {name: datasets.Dataset.from_dict(rows, features=features) for name, rows in parts.items()}
    whole = made["train"] if set(made) == {"train"} else datasets.DatasetDict(made)
    whole.save_to_disk(str(folder))


def test_a_saved_dataset_keeps_class_names_and_chosen_rows(tmp_path):
    features = datasets.Features({"text": datasets.Value("string"), "label": datasets.ClassLabel(names=["no", "yes"])})
    rows = datasets.Dataset.from_dict({"text": ["a", "b", "c"], "label": [1, 0, -1]}, features=features)
    rows.select([2, 0]).save_to_disk(str(tmp_path / "d"))
    table = read_dataset_folder(tmp_path / "d", None, "d", "train")
    assert dict(table.columns) == {"text": ["c", "a"], "label": [None, "yes"]}
    with pytest.raises(DataError, match="no splits"):
        read_dataset_folder(tmp_path / "d", "test", "d@test", "train")


def test_splits_of_a_saved_dataset(tmp_path):
    saved(tmp_path / "d", train={"text": ["a"], "label": [1]}, test={"text": ["b"], "label": [0]})
    assert read_dataset_folder(tmp_path / "d", None, "d", "test").columns["text"] == ["b"]
    chosen = read_dataset_folder(tmp_path / "d", "test", "d@test", "train")
    assert chosen.columns["text"] == ["b"]
    assert chosen.note == "split 'test'; also there, and not used: 'train'"
    with pytest.raises(DataError) as caught:
        read_dataset_folder(tmp_path / "d", "tests", "d@tests", "train")
    assert "'train', 'test'" in caught.value.what
    assert caught.value.fix == "add the split to the source: @test"
    with pytest.raises(DataError, match="no split 'validation'"):
        read_dataset_folder(tmp_path / "d", None, "d", "validation")


def test_folders_that_are_no_dataset(tmp_path):
    (tmp_path / "rows.csv").write_text("text,label\n")
    with pytest.raises(DataError, match=r"it holds 'rows.csv'"):
        read_dataset_folder(tmp_path, None, "d", "train")
    (tmp_path / "dataset_info.json").write_text("{")
    (tmp_path / "state.json").write_text("{")
    with pytest.raises(DataError, match="cannot be read"):
        read_dataset_folder(tmp_path, None, "d", "train")


@pytest.mark.parametrize(
    "source", ["hub:", "hub:../x/y", "hub:owner", "hub:/etc/x", "hub:a/b/c/d", "hub:a/b@", "hub:a/b c"]
)
def test_what_is_no_hub_id(source):
    with pytest.raises(DataError, match="not the id of a dataset"):
        read_hub(source, "train")


def test_a_hub_id_is_asked_for_without_code(monkeypatch):
    asked = []

    def load_dataset(*arguments, **options):
        asked.append((arguments, options))
        return {
            "train": datasets.Dataset.from_dict({"text": ["a"]}),
            "dev": datasets.Dataset.from_dict({"text": ["b"]}),
        }

    monkeypatch.setattr(datasets, "load_dataset", load_dataset)
    assert read_hub("hub:owner/name", "train").columns["text"] == ["a"]
    assert read_hub("hub:owner/name/small@dev", "train").columns["text"] == ["b"]
    assert asked == [(("owner/name", None), {}), (("owner/name", "small"), {})]


def test_a_hub_that_cannot_be_had(monkeypatch, tmp_path):
    def load_dataset(*arguments):
        raise ConnectionError("no route\nmore")

    monkeypatch.setattr(datasets, "load_dataset", load_dataset)
    monkeypatch.chdir(tmp_path)
    with pytest.raises(DataError, match=r"cannot be had from the hub \(no route\)"):
        read_hub("hub:owner/name", "train")
    (tmp_path / "owner" / "name").mkdir(parents=True)
    with pytest.raises(DataError, match="would be taken instead"):
        read_hub("hub:owner/name", "train")
