"""Data that was written out reads back the same, whatever it is; or is refused, and nothing is left behind."""

from __future__ import annotations

import csv
import json
from pathlib import Path
from typing import Any

import pytest
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st

from tunewise.commit import verify
from tunewise.data.prepare import prepare
from tunewise.data.settings import DataConfig
from tunewise.data.write_splits import write_splits
from tunewise.errors import DataError, StoreError
from tunewise.types import DataBundle

KINDS = ["parquet", "jsonl", "csv"]
AWKWARD = [
    'say "no", please',
    "two\nlines\r\nand\rmore",
    " space ",
    "=1+1",
    "\ufeffmark",
    "tab\there",
    "ž\u2028ü",
]


def written(folder: Path, rows: list[dict[str, Any]], name: str = "all.jsonl") -> Path:
    (folder / name).write_text("\n".join(json.dumps(row) for row in rows), encoding="utf-8")
    return folder


def there_and_back(folder: Path, kind: str, **options: Any) -> tuple[DataBundle, DataBundle]:
    """The data of a recipe, and what the section that was given reads."""
    config = DataConfig(**{"train": "all.jsonl", **options})
    data = prepare(config, folder)
    section = write_splits(config, folder, data, folder / "out", kind)
    return data, prepare(DataConfig(**section), folder / "out")


def tickets(count: int = 60) -> list[dict[str, Any]]:
    texts = [*AWKWARD, *(f"message number {number}" for number in range(count - len(AWKWARD)))]
    return [
        {"id": number, "text": text, "kind": ["a", "b", "1"][number % 3], "who": f"c{number % 7}"}
        for number, text in enumerate(texts)
    ]


@pytest.mark.parametrize("kind", KINDS)
@pytest.mark.parametrize(
    "options",
    [
        {},
        {"balance": "over", "split_seed": 3},
        {"balance": "under"},
        {"labels": ["b", "1", "a", "never"]},
        {"group": "who"},
        {"time": "id"},
        {"limit": 40, "per_class": 5},
        {"clean": {"normalise": True, "fix_encoding": True}},
    ],
    ids=str,
)
def test_classes_come_back_with_rows_in_order(tmp_path: Path, kind: str, options: dict[str, Any]) -> None:
    rows = [{**row, "kind": "a" if row["id"] % 5 == 0 else row["kind"]} for row in tickets()]
    data, again = there_and_back(written(tmp_path, rows), kind, text="text", label="kind", **options)
    assert again.fingerprint == data.fingerprint
    assert [step.name for step in again.steps if step.name in ("overlap", "split", "empty text")] == []
    for name, split in again.splits.items():
        assert split.columns["tunewise_row"] == tuple(map(str, data.splits[name].rows))
        assert set(split.columns["tunewise_source"]) == {"all.jsonl"}
        assert split.columns["who"] == data.splits[name].columns["who"]
    if "clean" in options:  # so that a model trained on these files cleans what it is given
        assert json.loads((tmp_path / "out" / "cleaning.json").read_text())["data"]["clean"] == {
            "fix_encoding": True,
            "normalise": True,
        }


@pytest.mark.parametrize("kind", KINDS)
def test_numbers_come_back_to_the_bit(tmp_path: Path, kind: str) -> None:
    rows = [{"text": f"t {number}", "y": number / 7 * 10.0 ** (number % 9 - 4)} for number in range(60)]
    data, again = there_and_back(written(tmp_path, rows), kind, label="y")
    assert data.schema.task == "regression" and again.fingerprint == data.fingerprint


@pytest.mark.parametrize("kind", KINDS)
def test_sets_of_labels_come_back(tmp_path: Path, kind: str) -> None:
    sets = [["x|y", "b"], [], ["b"], ["c, d", "x|y"]]
    rows = [{"text": f"t {number}", "y": sets[number % 4]} for number in range(60)]
    data, again = there_and_back(written(tmp_path, rows), kind, label="y")
    assert data.schema.task == "multilabel" and again.fingerprint == data.fingerprint


@pytest.mark.parametrize("kind", KINDS)
def test_columns_of_noughts_and_ones_come_back(tmp_path: Path, kind: str) -> None:
    rows = [{"text": f"t {n}", "cat": n % 2, "at": int(n % 3 > 0), "b": 1} for n in range(60)]
    options = {"text": "text", "label": ["cat", "at", "b"], "labels": ["at", "b", "cat"]}
    data, again = there_and_back(written(tmp_path, rows), kind, **options)
    assert again.schema == data.schema and again.fingerprint == data.fingerprint


@pytest.mark.parametrize("kind", ["parquet", "jsonl"])
def test_words_and_pairs_come_back(tmp_path: Path, kind: str) -> None:
    rows = [{"tokens": ["a b", "\u00a0c", f"w{n}"], "tags": ["B-X", "I-X", "O"], "n": n} for n in range(40)]
    data, again = there_and_back(written(tmp_path, rows), kind)
    assert again.schema.task == "token_classification" and again.fingerprint == data.fingerprint
    (tmp_path / "pairs").mkdir()
    rows = [{"one": f"a {n}", "two": AWKWARD[n % 7] + str(n), "y": "pq"[n % 2]} for n in range(40)]
    data, again = there_and_back(written(tmp_path / "pairs", rows), kind, text=["two", "one"], label="y")
    assert again.schema.text == ("two", "one") and again.fingerprint == data.fingerprint


def test_words_do_not_fit_into_csv_and_nothing_is_left(tmp_path: Path) -> None:
    rows = [{"tokens": ["a", f"w{n}"], "tags": ["B-X", "O"]} for n in range(40)]
    with pytest.raises(DataError, match="column 'tokens' holds lists") as caught:
        there_and_back(written(tmp_path, rows), "csv")
    assert "parquet" in caught.value.fix
    assert [path.name for path in tmp_path.iterdir()] == ["all.jsonl"]


def test_what_a_kind_of_file_changes_is_refused(tmp_path: Path) -> None:
    """A CSV reader takes the space off a label between separators, and names off their space."""
    rows = [{"text": f"t {n}", "y": [[" x "], ["x"], []][n % 3]} for n in range(60)]
    with pytest.raises(DataError, match="written as csv, the data would not read back the same"):
        there_and_back(written(tmp_path, rows), "csv", label="y", labels=[" x ", "x"])
    assert [path.name for path in tmp_path.iterdir()] == ["all.jsonl"]
    data, again = there_and_back(tmp_path, "jsonl", label="y", labels=[" x ", "x"])
    assert again.fingerprint == data.fingerprint


def test_what_a_kind_of_file_cannot_hold_is_refused(tmp_path: Path) -> None:
    written(tmp_path, [*tickets(), {"text": "nul\x00", "kind": "a"}])
    with pytest.raises(DataError, match="would not read back the same: a NUL character"):
        there_and_back(tmp_path, "csv", text="text", label="kind")
    data, again = there_and_back(tmp_path, "jsonl", text="text", label="kind")
    assert again.fingerprint == data.fingerprint


def test_test_sets_of_any_name_stay_in_the_folder(tmp_path: Path) -> None:
    written(tmp_path, tickets())
    names = ["../evil", "Test", "test", "a/b", "test-set-3", "ä"]
    for number in range(len(names)):
        written(tmp_path, [{"text": f"fresh {number} {n}", "kind": "ab1"[n % 3]} for n in range(6)], f"{number}.jsonl")
    tests = {name: f"{number}.jsonl" for number, name in enumerate(names)}
    data, again = there_and_back(tmp_path, "jsonl", text="text", label="kind", test=tests)
    assert again.fingerprint == data.fingerprint and list(again.tests) == names
    held = sorted(path.name for path in (tmp_path / "out").iterdir())
    assert len({name.lower() for name in held}) == len(held) == len(names) + 4
    assert not (tmp_path / "evil.jsonl").exists() and len(list(tmp_path.iterdir())) == len(names) + 2


def test_written_data_written_again_keeps_where_rows_first_came_from(tmp_path: Path) -> None:
    data, again = there_and_back(written(tmp_path, tickets()), "parquet", text="text", label="kind")
    out = tmp_path / "out"
    section = json.loads((out / "cleaning.json").read_text(encoding="utf-8"))["data"]
    write_splits(DataConfig(**section), out, again, tmp_path / "more", "csv")
    with (tmp_path / "more" / "test.csv").open(newline="", encoding="utf-8") as file:
        rows = list(csv.DictReader(file))
    assert [int(row["tunewise_row"]) for row in rows] == data.splits["test"].rows.tolist()
    assert {row["tunewise_source"] for row in rows} == {"all.jsonl"}


def test_what_was_done_stands_beside_the_files(tmp_path: Path) -> None:
    rows = [*tickets(), {"text": " \u200b", "kind": "a"}, {"text": "a  b", "kind": "a"}, {"text": "x", "kind": None}]
    data, _ = there_and_back(written(tmp_path, rows), "parquet", text="text", label="kind", clean={"normalise": True})
    verify(tmp_path / "out")
    told = json.loads((tmp_path / "out" / "cleaning.json").read_text(encoding="utf-8"))
    assert told["fingerprint"] == data.fingerprint and told["rows"] == {n: len(s) for n, s in data.splits.items()}
    steps = {step["name"]: step for step in told["steps"]}
    assert steps["normalise"]["rows"][-2:] == [61, 62] and (steps["normalise"]["rows_out"]) == 63
    assert steps["empty text"] == {**steps["empty text"], "rows_in": 63, "rows_out": 62, "rows": [61]}
    assert steps["missing label"]["rows"] == [63] and "missing label" in [step.name for step in data.steps]


def test_nothing_is_written_over(tmp_path: Path) -> None:
    written(tmp_path, tickets())
    (tmp_path / "out").mkdir()
    (tmp_path / "out" / "train.parquet").write_text("mine")
    with pytest.raises(StoreError, match="already there"):
        there_and_back(tmp_path, "parquet", text="text", label="kind")
    assert (tmp_path / "out" / "train.parquet").read_text() == "mine"


@settings(max_examples=15, deadline=None, suppress_health_check=[HealthCheck.function_scoped_fixture])
@given(
    texts=st.lists(
        st.text(st.characters(exclude_categories=["Cs"]), min_size=1), min_size=12, max_size=20, unique=True
    ),
    kind=st.sampled_from(KINDS),
)
def test_any_text_comes_back_or_is_refused(
    texts: list[str], kind: str, tmp_path_factory: pytest.TempPathFactory
) -> None:
    folder = written(
        tmp_path_factory.mktemp("any"), [{"text": f"{n}{text}", "y": "pq"[n % 2]} for n, text in enumerate(texts)]
    )
    try:
        data, again = there_and_back(folder, kind, text="text", label="y")
    except DataError as error:
        assert kind == "csv" and "read back" in str(error)
        assert not (folder / "out").exists()
    else:
        assert again.fingerprint == data.fingerprint
