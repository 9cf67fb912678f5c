from __future__ import annotations

import csv
import json
import os
import shutil
from pathlib import Path

import numpy as np
import pytest
from image_files import CLASSES, claims, file_of, noise, write_classes, write_photos

from tunewise.data.prepare import load_split, prepare
from tunewise.data.settings import DataConfig
from tunewise.errors import DataError
from tunewise.types import DataBundle


def steps(data: DataBundle, name: str) -> list[str]:
    return [step.reason for step in data.steps if step.name == name]


def shown(data: DataBundle, split: str) -> list[str]:
    return [picture.shown for (picture,) in data.splits[split].texts]


@pytest.fixture
def photos(tmp_path) -> Path:
    return write_photos(tmp_path / "photos", 4, 2)


@pytest.fixture
def table(photos) -> Path:
    """A CSV file beside the images, which it names."""
    rows = [(path.relative_to(photos).as_posix(), path.parent.name) for path in sorted(photos.glob("train/*/*"))]
    with (photos / "train.csv").open("w", newline="") as file:
        csv.writer(file).writerows([("path", "kind"), *rows])
    return photos / "train.csv"


def test_a_folder_for_each_class_in_a_folder_for_each_split(photos, tmp_path):
    config = DataConfig(train="photos", validation="photos", test={"one": "photos@test", "two": "photos@val"})
    data = prepare(config, tmp_path)
    assert {name: len(split) for name, split in data.splits.items()} == {
        "train": 12, "validation": 6, "one": 6, "two": 6,
    }  # fmt: skip
    assert (data.schema.image, data.schema.text, data.schema.labels) == ("image", (), tuple(sorted(CLASSES)))
    labels = [data.schema.labels[target] for target in data.splits["train"].targets]
    assert labels == [name.partition("/")[0] for name in shown(data, "train")]
    assert shown(data, "validation") == shown(data, "two") != shown(data, "one")


def test_splits_are_cut_off_where_there_are_none(tmp_path):
    write_classes(tmp_path / "photos", 10)
    (tmp_path / "photos" / "notes.txt").write_text("no image")
    data = prepare(DataConfig(train="photos"), tmp_path)
    assert [len(data.splits[name]) for name in ("train", "validation", "test")] == [20, 4, 6] or sum(
        map(len, data.splits.values())
    ) == 30
    assert "1 files that are not called like images are left out" in steps(data, "read")[0]
    assert all(np.bincount(split.targets).min() >= 1 for split in data.splits.values())


def test_a_table_names_the_same_images(photos, table, tmp_path):
    of_folder = prepare(DataConfig(train="photos", test="photos@test"), tmp_path)
    test = {"test": "photos@test"}
    of_table = prepare(DataConfig(train=str(table), image="path", label="kind", **test), tmp_path)
    for name in ("train", "validation"):
        assert of_table.splits[name].texts == of_folder.splits[name].texts
        assert of_table.splits[name].targets.tolist() == of_folder.splits[name].targets.tolist()


@pytest.mark.parametrize("kind", ["parquet", "datasets", "jsonl"])
def test_bytes_paths_and_both(photos, tmp_path, kind):
    paths = sorted(photos.glob("train/*/*"))
    labels = [path.parent.name for path in paths]
    if kind == "parquet":
        import pyarrow as pa
        import pyarrow.parquet as pq

        cells = [{"bytes": path.read_bytes(), "path": path.name} for path in paths]
        pq.write_table(pa.table({"picture": cells, "label": labels}), tmp_path / "data.parquet")
        config = DataConfig(train="data.parquet", label="label")  # the only column of bytes is the image
    elif kind == "datasets":
        import datasets

        features = datasets.Features({"picture": datasets.Image(), "label": datasets.ClassLabel(names=sorted(CLASSES))})
        made = datasets.Dataset.from_dict({"picture": list(map(str, paths)), "label": labels}, features=features)
        made.save_to_disk(str(tmp_path / "saved"))
        config = DataConfig(train="saved", label="label")
    else:
        lines = [json.dumps({"picture": str(path.relative_to(tmp_path)), "label": path.parent.name}) for path in paths]
        (tmp_path / "data.jsonl").write_text("\n".join(lines))
        config = DataConfig(train="data.jsonl", label="label", image="picture")
    data, folder = prepare(config, tmp_path), prepare(DataConfig(train="photos@train"), tmp_path)
    assert data.schema.image == "picture" and data.schema.labels == folder.schema.labels
    for name, split in folder.splits.items():
        assert data.splits[name].texts == split.texts and data.splits[name].targets.tolist() == split.targets.tolist()


def test_bytes_that_are_no_images_leave_a_text_a_text(tmp_path):
    import pyarrow as pa
    import pyarrow.parquet as pq

    rows = 40
    sound = [{"bytes": b"RIFF0000WAVE" + bytes([row]), "path": "a.wav"} for row in range(rows)]
    texts = [f"a text of number {row}" for row in range(rows)]
    labels = ["a" if row % 2 else "b" for row in range(rows)]
    pq.write_table(pa.table({"sound": sound, "said": texts, "label": labels}), tmp_path / "data.parquet")
    assert prepare(DataConfig(train="data.parquet", label="label"), tmp_path).schema.text == ("said",)


@pytest.mark.parametrize("way", ["up", "absolute", "link", "linked folder"])
def test_no_path_leads_out_of_its_folder(table, tmp_path, way):
    secret = tmp_path / "secret" / "a.png"
    secret.parent.mkdir()
    secret.write_bytes(file_of(noise(5)))
    name = {"up": "../secret/a.png", "absolute": str(secret), "link": "link.png", "linked folder": "out/a.png"}[way]
    if way == "link":
        (table.parent / "link.png").symlink_to(secret)
    if way == "linked folder":
        (table.parent / "out").symlink_to(secret.parent)
    with table.open("a") as file:
        file.write(f"{name},red\n")
    config = DataConfig(train=str(table), image="path", label="kind")
    with pytest.raises(DataError, match="leads out of the folder") as told:
        prepare(config, tmp_path)
    assert "row 13, column 'path'" in str(told.value)
    if way == "absolute":  # where the recipe names the folder that holds all, it may
        whole = table.read_text().replace("train/", "photos/train/")
        table.write_text(whole)
        data = prepare(config.model_copy(update={"image_folder": "."}), tmp_path)
        assert str(secret) in [name for split in data.splits for name in shown(data, split)]
        with pytest.raises(
            DataError, match=r"13 of 13 images cannot be used: row 1, photos/train/blue/00.png: there is no"
        ):
            table.write_text(whole.replace(str(secret), "photos/train/none.png"))
            prepare(config, tmp_path)


def test_a_folder_does_not_follow_links(photos, tmp_path):
    (tmp_path / "elsewhere").mkdir()
    (tmp_path / "elsewhere" / "a.png").write_bytes(file_of(noise(5)))
    (photos / "train" / "red" / "link.png").symlink_to(tmp_path / "elsewhere" / "a.png")
    with pytest.raises(DataError, match="leads out of the folder"):
        prepare(DataConfig(train="photos"), tmp_path)
    (photos / "train" / "red" / "link.png").unlink()
    (photos / "train" / "violet").symlink_to(tmp_path / "elsewhere")
    data = prepare(DataConfig(train="photos"), tmp_path)
    assert "violet" not in data.schema.labels


def test_broken_images_are_named_and_counted(photos, tmp_path):
    red = photos / "train" / "red"
    (red / "cut.jpg").write_bytes(file_of(noise(width=99, height=99), "JPEG")[:500])
    (red / "empty.png").write_bytes(b"")
    (red / "bomb.png").write_bytes(claims(30_000, 30_000))
    os.mkfifo(red / "pipe.png")
    (red / "other.jpg").write_bytes(file_of(noise(9)))  # a PNG file: what it is, its content says
    data = prepare(DataConfig(train="photos", test="photos@test"), tmp_path)
    (told,) = steps(data, "broken images")
    assert told.startswith("photos: 4 of 17 images cannot be used: row ") and told.endswith("; left out")
    for name, why in {
        "cut": "jpg: it is cut off",
        "empty": "png: it is empty",
        "pipe": "png: it is not a file",
    }.items():
        assert f"red/{name}.{why}" in told
    assert "red/bomb.png: " in told and "pixels" in told
    assert sum(len(data.splits[name]) for name in ("train", "validation")) == 13
    with pytest.raises(DataError, match="4 of 17 images cannot be used"):
        load_split(DataConfig(train="photos"), "photos@train", tmp_path, data.schema, "data", with_targets=True)


def test_what_was_done_with_images_is_told(photos, tmp_path):
    red = photos / "train" / "red"
    (red / "grey.png").write_bytes(file_of(noise(1).convert("L")))
    (red / "tiny.png").write_bytes(file_of(noise(2, 1, 1)))
    (red / "long.png").write_bytes(file_of(noise(3, 100, 20)))
    data = prepare(DataConfig(train="photos"), tmp_path)
    assert steps(data, "converted images") == ["photos: read as RGB of 8 bits: 1 grey to RGB"]
    tiny, long = steps(data, "odd images")
    assert "1 of 15 images have a side of less than 16 pixels: 'red/tiny.png'" in tiny and "'red/long.png'" in long
    assert steps(data, "images")[0] == "photos: 15 images, 1x1 to 100x20 pixels; modes: 14 RGB, 1 L"


def test_equal_images_are_on_one_side_or_told(photos, tmp_path):
    shutil.copy(photos / "train" / "red" / "00.png", photos / "test" / "red" / "again.png")
    shutil.copy(photos / "train" / "red" / "01.png", photos / "train" / "blue" / "wrong.png")
    config = DataConfig(train="photos", validation="photos@val", test="photos@test")
    data = prepare(config, tmp_path)
    (overlap,) = steps(data, "overlap")
    assert "1 of 7 rows of test (14.3%) have an image that is also in train" in overlap and "new images" in overlap
    (conflict,) = steps(data, "conflicting labels")
    assert "2 rows share their image with a row of another label" in conflict and "blue/wrong.png" in conflict
    dropped = prepare(config.model_copy(update={"overlap": "drop"}), tmp_path)
    assert len(dropped.splits["train"]) == len(data.splits["train"]) - 1
    with pytest.raises(DataError, match="have an image that is also in train"):
        prepare(config.model_copy(update={"overlap": "error"}), tmp_path)
    cut = prepare(DataConfig(train="photos@train", validation_share=0.3, test_share=0.3), tmp_path)
    sides = [{picture for (picture,) in split.texts} for split in cut.splits.values()]
    assert not sides[0] & sides[1] and not sides[0] & sides[2] and not sides[1] & sides[2]


def test_the_fingerprint_is_of_content(photos, tmp_path):
    config = DataConfig(train="photos", test="photos@test", validation="photos@val")
    before = prepare(config, tmp_path).fingerprint
    path = photos / "train" / "red" / "00.png"
    path.rename(path.with_name("00-renamed.png"))
    assert prepare(config, tmp_path).fingerprint == before
    path.with_name("00-renamed.png").write_bytes(file_of(noise(77)))
    assert prepare(config, tmp_path).fingerprint != before


@pytest.mark.parametrize(
    ("options", "where"),
    [
        ({"chat": True}, "data.chat"),
        ({"clean": {"normalise": True}}, "data.clean.normalise"),
        ({"clean": {"personal_data": "drop"}}, "data.clean.personal_data"),
        ({"clean": {"duplicates": "near"}}, "data.clean.duplicates"),
        ({"overlap_near": True}, "data.overlap_near"),
        ({"task": "generation"}, "data.task"),
        ({"image": "image", "text": "image"}, "data.image"),
        (
            {"image_folder": "nowhere", "train": "photos/train.csv", "image": "path", "label": "kind"},
            "data.image_folder",
        ),
    ],
    ids=lambda value: value if isinstance(value, str) else "",
)
def test_options_of_texts_are_refused(photos, table, tmp_path, options, where):
    with pytest.raises(DataError) as told:
        prepare(DataConfig.model_validate({"train": "photos", **options}), tmp_path)
    assert told.value.where == where and told.value.fix


def test_a_folder_without_classes_needs_labels_to_train_and_none_to_predict(tmp_path):
    for number in range(3):
        (tmp_path / f"{number}.png").write_bytes(file_of(noise(number)))
    with pytest.raises(DataError, match="does not tell classes"):
        prepare(DataConfig(train="."), tmp_path)
    write_classes(tmp_path / "photos", 4)
    schema = prepare(DataConfig(train="photos"), tmp_path).schema
    folder = tmp_path / "new"
    folder.mkdir()
    (folder / "a.png").write_bytes(file_of(noise(7)))
    for source in ("new", "new/a.png"):
        split = load_split(DataConfig(train="photos"), source, tmp_path, schema, "data", with_targets=False)
        assert [picture.shown for (picture,) in split.texts] == ["a.png"] and split.targets.tolist() == [-1]
    shutil.copytree(tmp_path / "photos", tmp_path / "beside")
    (tmp_path / "beside" / "x.png").write_bytes(file_of(noise(8)))
    with pytest.raises(DataError, match="lie beside the folders of classes"):
        prepare(DataConfig(train="beside"), tmp_path)
