"""From files to a DataBundle: what is kept, what is told, what is refused."""

from __future__ import annotations

import csv
import json
import os
import subprocess
import sys
import time
from dataclasses import replace
from pathlib import Path

import numpy as np
import pytest

from tunewise.data.fingerprint import fingerprint
from tunewise.data.prepare import load_split, prepare
from tunewise.data.settings import DataConfig
from tunewise.errors import DataError

CLASSES = ("refund", "late", "broken")


def rows_of(count: int, start: int = 0) -> list[tuple[str, str, str]]:
    return [(f"message number {n}", CLASSES[n % 3], f"r{n % 2}") for n in range(start, start + count)]


def write(path: Path, rows, header=("text", "label", "region")) -> str:
    with path.open("w", newline="", encoding="utf-8") as file:
        csv.writer(file).writerows([header, *rows])
    return path.name


def bundle(folder: Path, rows=None, **options):
    train = write(folder / "train.csv", rows_of(90) if rows is None else rows)
    return prepare(DataConfig(**{"train": train, "label": "label", "text": "text", **options}), folder)


def step(data, name: str):
    (found,) = [step for step in data.steps if step.name == name]
    return found


def test_every_row_is_in_one_split_with_its_own_label_and_number(tmp_path):
    rows = rows_of(90)
    data = bundle(tmp_path, rows)
    assert {name: len(split) for name, split in data.splits.items()} == {"train": 58, "validation": 14, "test": 18}
    assert data.schema.labels == ("broken", "late", "refund")
    numbers = np.concatenate([split.rows for split in data.splits.values()])
    assert sorted(numbers.tolist()) == list(range(1, 91))
    for split in data.splits.values():
        for text, target, number, region in zip(
            split.texts, split.targets, split.rows, split.columns["region"], strict=True
        ):
            assert (*text, data.schema.labels[target], region) == rows[number - 1]
        assert set(split.columns) == {"region"}
    assert list(data.tests) == ["test"]


def test_given_sets_are_taken_and_only_the_missing_one_is_split_off(tmp_path):
    test, other = write(tmp_path / "t.csv", rows_of(9, 100)), write(tmp_path / "o.csv", rows_of(6, 200))
    data = bundle(tmp_path, test={"near": test, "far": other})
    assert {name: len(split) for name, split in data.splits.items()} == {
        "train": 76,
        "validation": 14,
        "near": 9,
        "far": 6,
    }
    assert data.splits["far"].source == "o.csv"
    assert list(data.tests) == ["near", "far"]
    data = bundle(tmp_path, validation=test)
    assert [(name, len(split)) for name, split in data.splits.items()] == [
        ("train", 72),
        ("validation", 9),
        ("test", 18),
    ]
    assert len(bundle(tmp_path, validation=test, test=other).splits["train"]) == 90


def test_the_test_rows_do_not_depend_on_whether_validation_is_given(tmp_path):
    both = bundle(tmp_path)
    given = bundle(tmp_path, validation=write(tmp_path / "v.csv", rows_of(9, 100)))
    assert both.splits["test"].texts == given.splits["test"].texts


@pytest.mark.parametrize("names", [{"train": "t.csv"}, {"validation": "t.csv"}, {" ": "t.csv"}, {}])
def test_names_that_a_test_set_cannot_have(tmp_path, names):
    with pytest.raises(DataError, match="test set"):
        bundle(tmp_path, test=names)


def test_unusable_rows_are_left_out_and_counted(tmp_path):
    rows = rows_of(90)
    rows[3], rows[7], rows[10] = (" ", "late", ""), ("", "", ""), ("words", "  ", "")
    data = bundle(tmp_path, rows)
    empty, missing = step(data, "empty text"), step(data, "missing label")
    assert (empty.rows_in, empty.rows_out) == (90, 88)
    assert "train.csv: nothing in 'text' in rows 4, 8; left out" in empty.reason
    assert (missing.rows_in, missing.rows_out) == (88, 87)
    assert "row 11" in missing.reason
    assert sum(len(split) for split in data.splits.values()) == 87
    with pytest.raises(DataError, match="no row has both"):
        bundle(tmp_path, [("", "a", ""), ("x", "", "")])


def test_overlap_and_conflicts_are_told_and_kept(tmp_path):
    rows = [*rows_of(90), ("message number 5", "late", "")]
    test = write(tmp_path / "t.csv", [*rows_of(7), *rows_of(3, 500)])
    data = bundle(tmp_path, rows, test=test)
    conflict = step(data, "conflicting labels")
    assert conflict.rows_in == conflict.rows_out == 91
    assert "2 rows share their text" in conflict.reason
    assert "rows 6, 91" in conflict.reason
    overlaps = [step for step in data.steps if step.name == "overlap"]
    found = [
        sum(text in data.splits[name].texts for text in data.splits["test"].texts) for name in ("train", "validation")
    ]
    assert sum(found) == 7
    assert [step.reason.split(" ")[0] for step in overlaps] == [str(count) for count in found if count]
    assert all(step.rows_in == step.rows_out == 10 for step in overlaps)
    assert len(data.splits["test"]) == 10


def test_a_split_makes_no_overlap_of_repeated_texts(tmp_path):
    data = bundle(tmp_path, rows_of(90) * 2)
    assert not [step for step in data.steps if step.name == "overlap"]
    assert sum(len(split) for split in data.splits.values()) == 180


def test_regression_pairs_and_multilabel(tmp_path):
    numbers = [(f"a {n}", f"b {n}", n / 7) for n in range(60)]
    write(tmp_path / "p.csv", numbers, ("one", "two", "score"))
    data = prepare(DataConfig(train="p.csv", text=["one", "two"], label="score"), tmp_path)
    assert (data.schema.task, data.schema.labels, data.schema.outputs) == ("regression", (), 1)
    train = data.splits["train"]
    assert train.targets.dtype == np.float32
    assert train.texts[0] == (f"a {train.rows[0] - 1}", f"b {train.rows[0] - 1}")
    assert train.targets.tolist() == [np.float32((row - 1) / 7) for row in train.rows]
    lines = [json.dumps({"text": f"t {n}", "tags": ["x", "y", "z"][: n % 4]}) for n in range(40)]
    (tmp_path / "m.jsonl").write_text("\n".join(lines))
    data = prepare(DataConfig(train="m.jsonl", label="tags"), tmp_path)
    assert (data.schema.task, data.schema.labels) == ("multilabel", ("x", "y", "z"))
    test = data.splits["test"]
    assert test.targets.shape == (8, 3)
    assert test.targets.sum(axis=1).tolist() == [(row - 1) % 4 for row in test.rows]


def test_classes_of_the_test_set_that_train_does_not_have(tmp_path):
    test = write(tmp_path / "t.csv", [*rows_of(9, 100), ("new", "Late", ""), ("new too", "lost", "")])
    with pytest.raises(DataError) as caught:
        bundle(tmp_path, test=test)
    for word in ("'Late' (1 row), 'lost' (1 row)", "t.csv, row 10", "train.csv", "did you mean 'late'"):
        assert word in str(caught.value)


def test_few_rows_and_rare_classes(tmp_path):
    data = bundle(tmp_path, [*rows_of(90), ("only one of these", "lost", "")])
    assert "'lost'" in step(data, "rare classes").reason
    assert data.schema.labels.index("lost") in data.splits["train"].targets
    with pytest.raises(DataError, match=r"3 rows are too few to split off a test set"):
        bundle(tmp_path, rows_of(3))
    with pytest.raises(DataError, match=r"0.5 \+ 0.5 is not below 1"):
        bundle(tmp_path, test_share=0.5, validation_share=0.5)


def test_per_class_keeps_so_many_training_rows_of_each_class_and_all_others(tmp_path):
    rows = rows_of(60) + [(f"a rare thing {n}", "rare", "r0") for n in range(9)]
    whole, few = bundle(tmp_path, rows), bundle(tmp_path, rows, per_class=7)
    for name in ("validation", "test"):
        assert few.splits[name].texts == whole.splits[name].texts
    assert np.bincount(few.splits["train"].targets).tolist() == [7, 7, min(7, 9 - 3), 7]
    assert set(few.splits["train"].texts) < set(whole.splits["train"].texts)
    found = step(few, "per class")
    assert (found.rows_in, found.rows_out) == (len(whole.splits["train"]), len(few.splits["train"]))
    assert bundle(tmp_path, rows, per_class=7).fingerprint == few.fingerprint
    assert bundle(tmp_path, rows, per_class=7, split_seed=1).fingerprint != few.fingerprint
    with pytest.raises(DataError, match="per_class is for classification"):
        bundle(tmp_path, [(f"text {n}", str(n / 7), "r") for n in range(60)], per_class=3)


def test_limit_draws_from_each_source(tmp_path):
    test = write(tmp_path / "t.csv", rows_of(60, 100))
    data = bundle(tmp_path, test=test, limit=30)
    assert {name: len(split) for name, split in data.splits.items()} == {"train": 25, "validation": 5, "test": 30}
    limits = [step for step in data.steps if step.name == "limit"]
    assert [(step.rows_in, step.rows_out) for step in limits] == [(90, 30), (60, 30)]
    assert np.bincount(data.splits["test"].targets).tolist() == [10, 10, 10]
    with pytest.raises(DataError, match=r"limit 2 (.|\n)*at least 12"):
        bundle(tmp_path, limit=2)


def test_the_fingerprint_is_of_content_and_split(tmp_path):
    first = bundle(tmp_path)
    assert first.fingerprint == bundle(tmp_path).fingerprint
    (tmp_path / "copy").mkdir()
    assert first.fingerprint == bundle(tmp_path / "copy").fingerprint
    changed = rows_of(90)
    changed[0] = ("message number 0", "late", "")
    others = [bundle(tmp_path, changed), bundle(tmp_path, split_seed=1), bundle(tmp_path, test_share=0.3)]
    assert len({first.fingerprint, *(other.fingerprint for other in others)}) == 4


def test_the_fingerprint_covers_schema_texts_targets_and_assignment(tmp_path):
    data = bundle(tmp_path)
    test = data.splits["test"]
    changes = [
        (replace(data.schema, labels=("a", "b", "c")), {}),
        (data.schema, {"test": replace(test, targets=test.targets[::-1])}),
        (data.schema, {"test": replace(test, texts=test.texts[::-1])}),
        (data.schema, {"test": data.splits["validation"], "validation": test}),
    ]
    found = {fingerprint(schema, {**data.splits, **splits}) for schema, splits in [(data.schema, {}), *changes]}
    assert len(found) == 5
    assert data.fingerprint in found


def test_the_fingerprint_is_the_same_in_another_process(tmp_path):
    here = bundle(tmp_path).fingerprint
    code = (
        "from pathlib import Path; from tunewise.data.prepare import prepare;"
        "from tunewise.data.settings import DataConfig;"
        "config = DataConfig(train='train.csv', label='label', text='text');"
        f"print(prepare(config, Path({str(tmp_path)!r})).fingerprint)"
    )
    for environment in ({"PYTHONHASHSEED": "1", "LC_ALL": "C"}, {"PYTHONHASHSEED": "2", "PYTHONOPTIMIZE": "1"}):
        done = subprocess.run(
            [sys.executable, "-c", code], env={**os.environ, **environment}, capture_output=True, text=True, check=True
        )
        assert done.stdout.strip() == here


def test_new_rows_are_read_by_the_schema_of_training(tmp_path):
    config = DataConfig(train="train.csv", label="label", text="text", limit=60)
    data = bundle(tmp_path, limit=60)
    write(tmp_path / "new.csv", [("a", "late"), ("", "broken"), ("a", "")], ("text", "label"))
    new = load_split(config, "new.csv", tmp_path, data.schema, "new", with_targets=False)
    assert new.texts == (("a",), ("",), ("a",))
    assert (new.rows.tolist(), new.targets.tolist(), dict(new.columns)) == ([1, 2, 3], [-1, -1, -1], {})
    with pytest.raises(DataError, match="1 of 3 rows have no label: row 3"):
        load_split(config, "new.csv", tmp_path, data.schema, "new", with_targets=True)
    write(tmp_path / "new.csv", [("x", "a", "late"), ("y", "b", "broken")], ("id", "text", "label"))
    new = load_split(config, "new.csv", tmp_path, data.schema, "new", with_targets=True)
    assert (new.name, new.targets.tolist(), dict(new.columns)) == ("new", [1, 0], {"id": ("x", "y")})
    write(tmp_path / "new.csv", [("a", "late"), ("b", "lost")], ("text", "label"))
    with pytest.raises(DataError, match=r"'lost' \(1 row\)(.|\n)*new.csv, row 2"):
        load_split(config, "new.csv", tmp_path, data.schema, "new", with_targets=True)
    write(tmp_path / "new.csv", [("a",)], ("text",))
    assert len(load_split(config, "new.csv", tmp_path, data.schema, "new", with_targets=False)) == 1
    with pytest.raises(DataError, match="no column 'label'"):
        load_split(config, "new.csv", tmp_path, data.schema, "new", with_targets=True)
    write(tmp_path / "new.csv", [("a",)], ("message",))
    with pytest.raises(DataError, match="no column 'text'"):
        load_split(config, "new.csv", tmp_path, data.schema, "new", with_targets=False)


def test_new_rows_of_several_label_columns(tmp_path):
    write(tmp_path / "m.csv", [(f"t {n}", n % 2, n % 3 == 0) for n in range(60)], ("text", "odd", "third"))
    config = DataConfig(train="m.csv", text="text", label=["odd", 2])
    data = prepare(config, tmp_path)
    assert data.schema.labels == ("odd", "third")
    write(tmp_path / "n.csv", [("a", 1, 0), ("b", 1, 1)], ("text", "third", "odd"))
    new = load_split(config, "n.csv", tmp_path, data.schema, "new", with_targets=True)
    assert new.targets.tolist() == [[0, 1], [1, 1]]
    new = load_split(config, "n.csv", tmp_path, data.schema, "new", with_targets=False)
    assert np.isnan(new.targets).all()
    assert dict(new.columns) == {}


def test_ten_thousand_rows_in_a_second(tmp_path):
    rows = [(f"message {n} " + "word " * 20, CLASSES[n % 3], "r") for n in range(10_000)]
    write(tmp_path / "train.csv", rows)
    start = time.process_time()
    prepare(DataConfig(train="train.csv", label="label", text="text"), tmp_path)
    assert time.process_time() - start < 1
