"""Recipes that split by group and by time: what goes where, what is told of it, and what is refused."""

from __future__ import annotations

import csv
import datetime as dt
import json
import random
from pathlib import Path

import pyarrow as pa
import pyarrow.parquet as pq
import pytest

from tunewise.data.prepare import prepare
from tunewise.data.settings import DataConfig
from tunewise.errors import DataError
from tunewise.tracking.data_lines import data_lines

HEADER = ("text", "label", "customer", "day")


def day(number: int) -> str:
    return str(dt.date(2024, 1, 1) + dt.timedelta(days=number))


def rows_of(count: int, start: int = 0, per_customer: int = 5) -> list[tuple[str, str, str, str]]:
    """Two classes in turn; a day for each row, `per_customer` rows of one customer after the other."""
    return [
        (f"message {n}", ("late", "broken")[n % 2], f"c{n // per_customer}", day(n))
        for n in range(start, start + count)
    ]


def write(path: Path, rows, header=HEADER) -> str:
    with path.open("w", newline="", encoding="utf-8") as file:
        csv.writer(file).writerows([header, *rows])
    return path.name


def bundle(folder: Path, rows=None, **options):
    train = write(folder / "train.csv", rows_of(100) if rows is None else rows)
    return prepare(DataConfig(**{"train": train, "label": "label", "text": "text", **options}), folder)


def told(data, name: str) -> list[str]:
    return [step.reason for step in data.steps if step.name == name]


def held(data, column: str) -> dict[str, set[str]]:
    return {name: set(split.columns[column]) for name, split in data.splits.items()}


def sizes(data) -> dict[str, int]:
    return {name: len(split) for name, split in data.splits.items()}


# ---------------------------------------------------------------- groups


def test_customers_stay_together_and_it_is_told(tmp_path):
    data = bundle(tmp_path, group="customer")
    assert sizes(data) == {"train": 65, "validation": 15, "test": 20}
    sides = held(data, "customer")
    assert [len(names) for names in sides.values()] == [13, 3, 4]
    assert not (sides["train"] & sides["test"] or sides["train"] & sides["validation"])
    line = (
        "20 to test (20.0%), 15 to validation (15.0%); rows of one 'customer' together (13 in train, 4 in test, 3 in "
        "validation); the share of each class as near as these allow; equal texts together"
    )
    assert told(data, "split") == [line]
    assert f"data: split: {line}" in data_lines(data.steps)
    assert not told(data, "groups") and not told(data, "overlap")


def test_only_validation_is_cut_off_where_a_test_is_given(tmp_path):
    data = bundle(tmp_path, group="customer", test=write(tmp_path / "t.csv", rows_of(10, 500)))
    assert sizes(data) == {"train": 85, "validation": 15, "test": 10}
    assert not held(data, "customer")["train"] & held(data, "customer")["validation"]


def test_the_test_rows_do_not_depend_on_whether_validation_is_given(tmp_path):
    alone = bundle(tmp_path, group="customer")
    given = bundle(tmp_path, group="customer", validation=write(tmp_path / "v.csv", rows_of(10, 500)))
    assert alone.splits["test"].texts == given.splits["test"].texts


def test_the_seed_decides_and_the_order_of_the_file_does_not(tmp_path):
    rows = rows_of(100)
    first, other = (
        set(bundle(tmp_path, rows, group="customer", split_seed=seed).splits["test"].texts) for seed in (0, 1)
    )
    mixed = random.Random(0).sample(rows, len(rows))
    assert set(bundle(tmp_path, mixed, group="customer").splits["test"].texts) == first != other


def test_rows_without_a_group_are_groups_of_their_own(tmp_path):
    rows = [(*row[:2], "" if n in (3, 50) else row[2], row[3]) for n, row in enumerate(rows_of(100))]
    data = bundle(tmp_path, rows, group="customer")
    assert told(data, "groups") == [
        "train.csv: 2 of 100 rows have nothing in 'customer': rows 4, 51; each is a group of its own"
    ]
    assert sum(sizes(data).values()) == 100


def test_what_is_doubtful_about_groups(tmp_path):
    rows = [(text, label, f"id{n}", when) for n, (text, label, _, when) in enumerate(rows_of(100))]
    assert told(bundle(tmp_path, rows, group="customer"), "groups") == [
        "train.csv: every row has another 'customer', so that the groups keep no rows together"
    ]
    rows = [(*row[:2], row[2].upper() if n % 20 == 0 else f" {row[2]}", row[3]) for n, row in enumerate(rows_of(100))]
    (line,) = told(bundle(tmp_path, rows, group="customer"), "groups")
    assert line.startswith("train.csv: 'C0', 'C12', 'C16', 'C4', 'C8', 'c0', ") and "differ by case" in line


def test_groups_that_share_a_text_are_one(tmp_path):
    rows = rows_of(100)
    rows[0], rows[7], rows[13] = (("hello", "late", f"c{n // 5}", day(n)) for n in (0, 7, 13))
    data = bundle(tmp_path, rows, group="customer")
    assert told(data, "groups") == [
        "3 of 20 'customer' share texts with another and go together, in 1 larger group; the largest holds 3 of them, "
        "15 rows"
    ]
    sides = [name for name, names in held(data, "customer").items() if names & {"c0", "c1", "c2"}]
    assert len(sides) == 1 and not told(data, "overlap")


def test_groups_larger_than_a_split(tmp_path):
    rows = [(*row[:2], "big" if n < 60 else row[2], row[3]) for n, row in enumerate(rows_of(100))]
    data = bundle(tmp_path, rows, group="customer")
    assert told(data, "groups") == [
        "1 group of 'customer' is larger than test was to be (20 rows); the largest, 'big', has 60 rows",
        "1 group of 'customer' is larger than validation was to be (15 rows); the largest, 'big', has 60 rows",
    ]
    assert sizes(data) == {"train": 65, "validation": 15, "test": 20} and "big" in held(data, "customer")["train"]


def test_a_class_of_one_customer_stays_in_train_and_it_is_told(tmp_path):
    rows = [(row[0], "rare" if row[2] == "c7" else row[1], *row[2:]) for row in rows_of(100)]
    data = bundle(tmp_path, rows, group="customer")
    assert told(data, "rare classes") == [
        "classes of one group alone stay in train, and cannot be validated or tested: 'rare'"
    ]
    assert "c7" in held(data, "customer")["train"]


def test_too_few_groups(tmp_path):
    with pytest.raises(DataError) as caught:
        bundle(tmp_path, [(*row[:2], "c", row[3]) for row in rows_of(40)], group="customer")
    assert caught.value.what == (
        "40 rows are too few to split off a test set: rows of one 'customer' stay together, and each class (or range "
        "of the number) keeps at least one row for train; groups: 1, the largest of 40 rows"
    )


def test_a_text_that_everybody_wrote_joins_all_groups(tmp_path):
    rows = [("thanks" if n % 5 == 0 else row[0], *row[1:]) for n, row in enumerate(rows_of(40))]
    with pytest.raises(DataError) as caught:
        bundle(tmp_path, rows, group="customer")
    assert caught.value.what.endswith(
        "groups: 1, the largest of 40 rows; 8 of 8 'customer' share texts with another and go together, in 1 larger "
        "group; the largest holds 8 of them, 40 rows"
    )
    assert caught.value.fix == "take out rows whose text many groups have, or name a test file under data"


def test_groups_that_given_files_share_are_told_left_out_or_refused(tmp_path):
    test = write(
        tmp_path / "t.csv", [("new 1", "late", "c3", day(0)), ("new 2", "late", "x", day(1)), ("new 3", "late", "", "")]
    )
    options = {"group": "customer", "test": test, "validation": write(tmp_path / "v.csv", rows_of(10, 500))}
    data = bundle(tmp_path, **options)
    assert told(data, "overlap") == [
        "1 of 3 rows of test (33.3%) are of a group that is also in train: t.csv, row 1. Scores on test are better "
        "than they will be on new groups. Kept as they are"
    ]
    data = bundle(tmp_path, **options, overlap="drop")
    assert told(data, "overlap") == [
        "train.csv: 5 of 100 rows of train are of a group that is also in validation or test: rows 16, 17, 18, 19, 20; "
        "left out of train"
    ]
    assert "c3" not in held(data, "customer")["train"] and sizes(data)["train"] == 95
    with pytest.raises(DataError, match=r"1 of 3 rows of test .* are of a group that is also in train: t.csv, row 1"):
        bundle(tmp_path, **options, overlap="error")


# ---------------------------------------------------------------- time


def test_the_latest_days_are_tested(tmp_path):
    rows = rows_of(100)
    data = bundle(tmp_path, random.Random(0).sample(rows, 100), time="day")
    days = held(data, "day")
    assert days["test"] == {day(n) for n in range(80, 100)}
    assert days["validation"] == {day(n) for n in range(65, 80)}
    assert days["train"] == {day(n) for n in range(65)}
    assert told(data, "split") == [
        "20 to test (20.0%), from 2024-03-21 on; 15 to validation (15.0%), from 2024-03-06 on; train to 2024-03-05; by "
        "'day', so that classes do not keep their share"
    ]
    assert not told(data, "time order") and not told(data, "rare classes")


def test_rows_of_one_day_stay_together_and_it_is_told(tmp_path):
    rows = [(*row[:3], day(n // 8)) for n, row in enumerate(rows_of(100))]  # the last day has 4 rows
    data = bundle(tmp_path, rows, time="day")
    assert sizes(data) == {"train": 64, "validation": 16, "test": 20}
    assert (
        "16 to validation (16.0%), from 2024-01-09 on instead of 15, as rows of equal time stay on one side"
        in told(data, "split")[0]
    )


def test_a_customer_goes_where_the_latest_row_goes(tmp_path):
    rows = [(*row[:2], "old" if n in (2, 95) else row[2], row[3]) for n, row in enumerate(rows_of(100))]
    data = bundle(tmp_path, rows, time="day", group="customer")
    sides = held(data, "customer")
    assert not (sides["train"] & sides["test"] or sides["validation"] & (sides["train"] | sides["test"]))
    assert "old" in sides["test"] and max(held(data, "day")["train"]) < "2024-03-06"
    assert told(data, "split")[0].endswith(
        "by the latest 'day' of each 'customer', so that classes do not keep their share"
    )
    assert told(data, "time order") == [
        "1 of 21 rows of test (4.8%) are not later than the last row of train (2024-03-05): train.csv, row 3. Kept as "
        "they are",
        "1 of 21 rows of test (4.8%) are not later than the last row of validation (2024-03-20): train.csv, row 3. "
        "Kept as they are",
    ]


def test_a_class_of_later_rows_alone(tmp_path):
    rows = [(row[0], "new" if n in (90, 95) else row[1], *row[2:]) for n, row in enumerate(rows_of(100))]
    with pytest.raises(DataError) as caught:
        bundle(tmp_path, rows, time="day")
    assert caught.value.what == "1 class of test that no earlier row, left for train, has: 'new' (2 rows)"
    assert caught.value.where == "train.csv, row 91, column 'day'"
    assert sizes(bundle(tmp_path, rows, time="day", test_share=0.01, validation_share=0.01))["train"] == 98


@pytest.mark.parametrize("overlap", ["warn", "drop", "error"])
def test_texts_on_both_sides_of_the_border(tmp_path, overlap):
    rows = [("hello" if n in (4, 90) else row[0], *row[1:]) for n, row in enumerate(rows_of(100))]
    if overlap == "error":
        with pytest.raises(
            DataError, match=r"1 of 20 rows of test .* have a text that is also in train: train.csv, row 91"
        ):
            bundle(tmp_path, rows, time="day", overlap=overlap)
        return
    data = bundle(tmp_path, rows, time="day", overlap=overlap)
    assert sizes(data) == {"train": 65 - (overlap == "drop"), "validation": 15, "test": 20}
    (line,) = told(data, "overlap")
    assert ("row 5; left out of train" in line) if overlap == "drop" else ("Kept as they are" in line)


def test_limit_draws_before_the_cut_and_per_class_after_it(tmp_path):
    data = bundle(tmp_path, rows_of(400), time="day", limit=100)
    days = held(data, "day")
    assert sizes(data) == {"train": 65, "validation": 15, "test": 20}
    assert max(days["train"]) < min(days["validation"]) <= max(days["validation"]) < min(days["test"])
    assert max(days["test"]) > day(370) and min(days["train"]) < day(30)
    data = bundle(tmp_path, rows_of(400), time="day", per_class=10)
    assert sizes(data) == {"train": 20, "validation": 60, "test": 80}
    data = bundle(tmp_path, rows_of(400), group="customer", limit=100)
    assert sum(sizes(data).values()) == 100
    assert not held(data, "customer")["train"] & held(data, "customer")["test"]


def test_given_sources_that_are_not_later(tmp_path):
    test = write(tmp_path / "t.csv", [("new 1", "late", "c", day(40)), ("new 2", "late", "c", day(200))])
    data = bundle(tmp_path, time="day", test=test)
    assert sizes(data) == {"train": 85, "validation": 15, "test": 2}
    assert told(data, "time order") == [
        "1 of 2 rows of test (50.0%) are not later than the last row of train (2024-03-25): t.csv, row 1. Kept as they "
        "are",
        "1 of 2 rows of test (50.0%) are not later than the last row of validation (2024-04-09): t.csv, row 1. Kept as "
        "they are",
    ]
    write(tmp_path / "t.csv", [("new 1", "late", "c", "5")])
    with pytest.raises(DataError, match=r"expected a date, as in train.csv, got a number"):
        bundle(tmp_path, time="day", test=test)


def test_too_few_times(tmp_path):
    with pytest.raises(DataError) as caught:
        bundle(tmp_path, [(*row[:3], day(n % 2)) for n, row in enumerate(rows_of(40))], time="day")
    assert caught.value.what == (
        "40 rows with 2 different times are too few to split off test and validation: rows of equal time stay on one "
        "side"
    )


# ---------------------------------------------------------------- columns


def test_neither_column_is_taken_for_the_text(tmp_path):
    rows = [(row[0], row[1], f"the shop of {row[2]}", f"{row[3]} 10:00") for row in rows_of(100, per_customer=2)]
    data = bundle(tmp_path, rows, text=None, group="customer", time="day")
    assert data.schema.text == ("text",) and set(data.splits["train"].columns) == {"customer", "day"}
    with pytest.raises(DataError, match="several columns could be the text: 'text', 'customer'"):
        bundle(tmp_path, rows, text=None)


@pytest.mark.parametrize(
    ("options", "what", "where"),
    [
        ({"group": "custmer"}, "there is no column 'custmer'", "train.csv"),
        ({"time": 9}, "there is no column '9'", "train.csv"),
        ({"group": "text"}, "column 'text' is named as group and as text", "data.group"),
        ({"time": "label"}, "column 'label' is named as time and as label", "data.time"),
        ({"group": "day", "time": 3}, "column 'day' is named as group and as time", "data.group, data.time"),
    ],
)
def test_columns_that_will_not_do(tmp_path, options, what, where):
    with pytest.raises(DataError) as caught:
        bundle(tmp_path, **options)
    assert what in caught.value.what and caught.value.where == where
    assert "custmer" not in what or caught.value.fix == "did you mean 'customer'?"


def test_a_column_without_groups_or_missing_in_another_source(tmp_path):
    with pytest.raises(DataError, match="no row has a group: there is nothing in column 'customer'"):
        bundle(tmp_path, [(*row[:2], " ", row[3]) for row in rows_of(40)], group="customer")
    other = write(tmp_path / "t.csv", [("a", "late")], HEADER[:2])
    with pytest.raises(DataError, match="there is no column 'customer'") as caught:
        bundle(tmp_path, group="customer", test=other)
    assert caught.value.where == "t.csv"


def records(count: int = 100) -> list[dict]:
    return [
        {
            "text": f"message {n}",
            "label": "ab"[n % 2],
            "customer": n // 5,
            "at": dt.datetime(2024, 1, 1) + n * dt.timedelta(hours=1),
        }
        for n in range(count)
    ]


@pytest.mark.parametrize("kind", ["timestamp[s]", "timestamp[ns]", "timestamp[us, UTC]", "date32", "int64", "double"])
def test_columns_of_parquet(tmp_path, kind):
    rows = records()
    epoch = [int((row["at"] - dt.datetime(1970, 1, 1)).total_seconds()) for row in rows]
    types = {
        "timestamp[s]": pa.timestamp("s"),
        "timestamp[ns]": pa.timestamp("ns"),
        "timestamp[us, UTC]": pa.timestamp("us", "UTC"),
    }
    cells = {
        "date32": lambda: pa.array([dt.date(2024, 1, 1) + dt.timedelta(days=n) for n in range(100)]),
        "int64": lambda: pa.array(epoch),
        "double": lambda: pa.array([number + 0.25 for number in epoch]),
    }.get(kind, lambda: pa.array([row["at"] for row in rows], types[kind]))()
    customers = pa.array([None if row["customer"] == 19 else row["customer"] for row in rows], pa.float64())
    columns = {"text": [row["text"] for row in rows], "label": [row["label"] for row in rows]}
    pq.write_table(pa.table({**columns, "customer": customers, "at": cells}), tmp_path / "d.parquet")
    data = prepare(DataConfig(train="d.parquet", text="text", label="label", time="at"), tmp_path)
    assert data.splits["test"].rows.tolist() == list(range(81, 101))
    data = prepare(DataConfig(train="d.parquet", text="text", label="label", group="customer"), tmp_path)
    assert not (held(data, "customer")["train"] & held(data, "customer")["test"]) - {""}
    assert told(data, "groups")[0].startswith("d.parquet: 5 of 100 rows have nothing in 'customer'")


def test_columns_of_jsonl_and_entities(tmp_path):
    lines = [{"tokens": ["a", f"b{n}"], "tags": ["O", "B-X"], "doc": n // 4, "year": 1900 + n} for n in range(80)]
    (tmp_path / "d.jsonl").write_text("\n".join(map(json.dumps, lines)))
    data = prepare(DataConfig(train="d.jsonl", group="doc"), tmp_path)
    assert data.schema.task == "token_classification"
    assert not held(data, "doc")["train"] & held(data, "doc")["test"] and sizes(data)["test"] == 16
    assert min(held(prepare(DataConfig(train="d.jsonl", time="year"), tmp_path), "year")["test"]) == "1964"
    with pytest.raises(DataError, match="expected the name or number of a group in each cell, got list"):
        prepare(DataConfig(train="d.jsonl", text="tokens", label="tags", group="doc"), _with_lists(tmp_path, lines))


def _with_lists(folder: Path, lines: list[dict]) -> Path:
    (folder / "d.jsonl").write_text("\n".join(json.dumps({**line, "doc": [line["doc"]]}) for line in lines))
    return folder


@pytest.mark.parametrize("key", ["group", "time"])
def test_sentences_of_conll_have_no_such_column(tmp_path, key):
    (tmp_path / "d.conll").write_text("a O\nb B-X\n\n" * 40)
    with pytest.raises(DataError) as caught:
        prepare(DataConfig(train="d.conll", **{key: "doc"}), tmp_path)
    assert caught.value.what == (
        "there is no column 'doc': every column holds lists, one item for each word, so that a row has no " + key
    )
    assert caught.value.where == f"d.conll, data.{key}"


def test_regression_and_sets_of_labels_by_group(tmp_path):
    lines = [{"text": f"t {n}", "y": n / 7, "tags": ["x", "y", "z"][: n % 4], "g": n // 5} for n in range(100)]
    (tmp_path / "d.jsonl").write_text("\n".join(map(json.dumps, lines)))
    data = prepare(DataConfig(train="d.jsonl", text="text", label="y", time="g"), tmp_path)
    assert held(data, "g")["test"] == {"16", "17", "18", "19"} and data.schema.task == "regression"
    for label in ("y", "tags"):
        data = prepare(DataConfig(train="d.jsonl", text="text", label=label, group="g"), tmp_path)
        assert sizes(data) == {"train": 65, "validation": 15, "test": 20}
        assert not held(data, "g")["train"] & held(data, "g")["test"]
