"""Which columns are taken, and which task is told."""

from __future__ import annotations

import pytest

from tunewise.data.doubtful import Classes
from tunewise.data.schema import check_texts, find_schema, find_task, label_columns, text_columns
from tunewise.data.settings import DataConfig
from tunewise.data.table import Table
from tunewise.errors import DataError

WORDS = ["where is my parcel", "thank you very much", "not what I asked for", "it broke at once"]


def config(**options) -> DataConfig:
    return DataConfig(**{"train": "f.csv", "label": "label", **options})


def table(**columns) -> Table:
    return Table("f.csv", {"text": WORDS, "label": ["a", "b", "a", "b"], **columns})


def task(cells, **options) -> str:
    return find_task(config(**options), Table("f.csv", {"label": cells}), ["label"])[0]


def test_the_only_text_is_found_among_numbers_and_names():
    assert text_columns(config(), table(), ["label"]) == ("text",)
    others = {
        "score": ["1", "2", "3", "4"],
        "region": ["north", "south", "north", "south"],
        "id": ["x1", "x2", "x3", "x4"],
    }
    assert text_columns(config(), table(**others), ["label"]) == ("text",)
    names = Table("f.csv", {"word": ["good", "bad"], "label": ["1", "0"]})
    assert text_columns(config(), names, ["label"]) == ("word",)
    chinese = Table("f.csv", {"a": ["我的包裹在哪里", "谢谢你"], "b": ["x", "y"], "label": ["1", "0"]})
    assert text_columns(config(), chinese, ["label"]) == ("a",)


def test_two_texts_must_be_told_apart_by_the_recipe():
    both = table(title=[cell.upper() for cell in WORDS])
    with pytest.raises(DataError, match="'text', 'title'"):
        text_columns(config(), both, ["label"])
    assert text_columns(config(text=["title", "text"]), both, ["label"]) == ("title", "text")
    assert text_columns(config(text=2), both, ["label"]) == ("title",)


def test_no_text_at_all():
    with pytest.raises(DataError, match="no column holds text"):
        text_columns(config(), Table("f.csv", {"a": ["1", "2"], "label": ["x", "y"]}), ["label"])


@pytest.mark.parametrize(
    ("options", "words"),
    [
        ({"text": "label"}, "named as text and as label"),
        ({"text": ["text", 0]}, "'text' is named twice"),
        ({"text": []}, "got 0"),
        ({"text": ["text", "label", "text"]}, "got 3"),
        ({"text": "texts"}, "did you mean 'text'"),
        ({"label": "lable"}, "did you mean 'label'"),
        ({"label": []}, "empty list"),
        ({"label": ["label", "label"]}, "named twice"),
    ],
)
def test_columns_that_cannot_be(options, words):
    with pytest.raises(DataError) as caught:
        text_columns(config(**options), table(), label_columns(config(**options), table()))
    assert words in str(caught.value)


@pytest.mark.parametrize(
    ("cells", "expected"),
    [
        (["a", "b"], "classification"),
        (["0", "1", ""], "classification"),
        ([0, 1, None], "classification"),
        ([1.0, 2.0], "classification"),
        ([str(number) for number in range(20)], "classification"),
        ([str(number) for number in range(21)], "regression"),
        (["0.5", "1", ""], "regression"),
        ([0.5, 1], "regression"),
        ([["a"], []], "multilabel"),
        ([None, ["a"]], "multilabel"),
        ([f"{number}.5" for number in range(30)] + ["NA"], "regression"),
        ([f"{number}.5" for number in range(30)] + ["NA"] * 9, "classification"),
        (["1.5", "NA"], "classification"),
        ([True, False], "classification"),
    ],
)
def test_the_task_is_told_from_the_label(cells, expected):
    assert task(cells) == expected


def test_the_recipe_decides_the_task():
    assert task(["0.5", "1.5"], task="classification") == "classification"
    assert task(["a|b"], label_separator="|") == "multilabel"
    assert find_task(config(), table(), ["a", "b"])[0] == "multilabel"
    for options, label in (
        ({"task": "regression", "label_separator": "|"}, ["a"]),
        ({"task": "classification"}, ["a", "b"]),
    ):
        with pytest.raises(DataError, match="do not go together"):
            find_task(config(**options), table(), label)


def schema(values, kind="classification", label=("label",), **options):
    classes = Classes(values, range(1, len(values) + 1), "f.csv", label)
    return find_schema(config(**options), ["text"], kind, classes)


def test_classes_are_sorted_or_as_given():
    assert schema(["b", "a", "b"]).labels == ("a", "b")
    assert schema(["10", "9"]).labels == ("9", "10")
    assert schema(["b", "a"], labels=["b", "a"]).labels == ("b", "a")
    assert schema([("b",), ("a",)], "multilabel").labels == ("a", "b")
    assert schema([("y",), ()], "multilabel", label=("y", "x")).labels == ("y", "x")
    assert schema([0.5, 1.0], "regression").labels == ()
    assert schema(["spam", "Spam"], labels=["spam", "Spam"]).labels == ("spam", "Spam")


@pytest.mark.parametrize(
    ("values", "kind", "options", "words"),
    [
        (["a", "a"], "classification", {}, "all 2 rows with a label have the same class ('a')"),
        ([1.0, 1.0], "regression", {}, "all 2 rows with a label have the same number ('1')"),
        ([("a",), ("a",)], "multilabel", {}, "the same set of labels ('a')"),
        (["a", "A"], "classification", {}, "probably one"),
        (["a", "b"], "classification", {"labels": ["a", "B"]}, "did you mean 'B'"),
        (["a", "b"], "classification", {"labels": ["a", "b", "a"]}, "'a' stands twice"),
    ],
)
def test_classes_that_cannot_be(values, kind, options, words):
    with pytest.raises(DataError) as caught:
        schema(values, kind, **options)
    assert words in str(caught.value)
    assert "f.csv" in str(caught.value) or "data.labels" in str(caught.value)


def test_several_label_columns_are_all_the_classes():
    with pytest.raises(DataError, match="no such column"):
        schema([("x",), ()], "multilabel", label=("x", "y"), labels=["x", "y", "z"])


def test_texts_are_tuples_and_must_be_text():
    assert check_texts(Table("f", {"a": ["x", None], "b": ["", "y"]}), ["b", "a"]) == [("", "x"), ("y", "")]
    with pytest.raises(DataError, match=r"f, column 'a'"):
        check_texts(Table("f", {"a": [1, 2]}), ["a"])
    with pytest.raises(DataError, match=r"row 2, column 'a'"):
        check_texts(Table("f", {"a": ["x", 2, "y"]}), ["a"])
