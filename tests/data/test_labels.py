"""Label cells -> names and targets, against scikit-learn's encoders and hand-made damage."""

from __future__ import annotations

import numpy as np
import pytest
from sklearn.preprocessing import LabelEncoder, MultiLabelBinarizer

from tunewise.data.labels import check_known, no_targets, read_labels, sort_names, to_targets
from tunewise.data.table import Table
from tunewise.errors import DataError
from tunewise.types import Schema


def column(cells) -> Table:
    return Table("f.csv", {"label": cells})


def read(cells, task="classification", separator=None):
    return read_labels(column(cells), ["label"], task, separator)


def test_names_are_the_text_in_the_file():
    assert read(["NA", "None", " a", "1.0", "nan"]) == ["NA", "None", " a", "1.0", "nan"]
    assert read(["", "  ", None, "x"]) == [None, None, None, "x"]
    assert read([3, -1, None]) == ["3", "-1", None]
    assert read([1.0, 2.0, 0.5]) == ["1", "2", "0.5"]
    assert read([True, False]) == ["true", "false"]


def test_targets_equal_those_of_scikit_learn():
    names = ["b", "a", "c", "a"]
    targets = to_targets(names, Schema("classification", ("t",), "l", sort_names(set(names))))
    assert targets.dtype == np.int64
    assert targets.tolist() == LabelEncoder().fit_transform(names).tolist()
    sets = [("b", "a"), (), ("c",), ("a",)]
    targets = to_targets(sets, Schema("multilabel", ("t",), "l", ("a", "b", "c")))
    assert targets.dtype == np.float32
    assert targets.tolist() == MultiLabelBinarizer().fit_transform(sets).tolist()
    assert to_targets([0.5, 2.0], Schema("regression", ("t",), "l")).dtype == np.float32


def test_targets_that_are_not_known():
    assert no_targets(2, Schema("classification", ("t",), "l", ("a", "b"))).tolist() == [-1, -1]
    assert no_targets(2, Schema("multilabel", ("t",), "l", ("a", "b", "c"))).shape == (2, 3)
    assert np.isnan(no_targets(2, Schema("regression", ("t",), "l"))).tolist() == [True, True]


def test_whole_numbers_sort_by_number():
    assert sort_names(["10", "9", "-1"]) == ("-1", "9", "10")
    assert sort_names(["10", "9", "x"]) == ("10", "9", "x")


@pytest.mark.parametrize(
    ("cells", "words"),
    [
        (["1", "1", 1], ("row 3", "expected text, as in 2 rows", "got number (1)", "as in 1")),
        ([1, 1.0], ("row 2", "written in two ways", "1 in row 1", "1.0 here")),
        (["a", True], ("true/false",)),
        (["a", ["b"]], ("row 2", "list")),
        ([["a"], ["b"]], ("expected a class in each cell, got list", "multi-label")),
        ([1.5, float("nan")], ("row 2", "nan")),
    ],
)
def test_cells_that_are_no_class(cells, words):
    with pytest.raises(DataError) as caught:
        read(cells)
    for word in ("f.csv", "column 'label'", *words):
        assert word in str(caught.value)


def test_numbers():
    assert read(["1", " -2.5 ", "1e3", ".5", "", None], "regression") == [1.0, -2.5, 1000.0, 0.5, None, None]


@pytest.mark.parametrize(
    ("cell", "words"),
    [
        ("nan", ("finite",)),
        ("-inf", ("finite",)),
        ("1e39", ("finite", "32 bits")),
        ("high", ("expected a number, got 'high'", "task: classification")),
        ("1_000", ("expected a number",)),
        ("3,5", ("decimals with a point",)),
        ("٣", ("expected a number",)),
    ],
)
def test_cells_that_are_no_target(cell, words):
    with pytest.raises(DataError) as caught:
        read(["1.5", cell], "regression")
    for word in ("f.csv, row 2, column 'label'", *words):
        assert word in str(caught.value)


def test_a_header_in_a_file_without_headers_is_named():
    with pytest.raises(DataError, match="header: false"):
        read_labels(Table("f.tsv", {"0": ["score", "1.5"]}), ["0"], "regression", None)


def test_label_sets_of_cells_lists_and_columns():
    assert read(["a| b|a", "", "c|"], "multilabel", "|") == [("a", "b"), (), ("c",)]
    assert read(["a", None], "multilabel", "|") == [("a",), None]
    assert read([["a", "b"], [], None], "multilabel") == [("a", "b"), (), None]
    assert read([[2, 1]], "multilabel") == [("2", "1")]
    table = Table("f.csv", {"x": ["1", "0", "", "true"], "y": ["1.0", "0", "1", "FALSE"]})
    assert read_labels(table, ["x", "y"], "multilabel", None) == [("x", "y"), (), None, ("x",)]


@pytest.mark.parametrize("cells", [[["a"], [1]], [["a", None]], [["a", " "]], [[["a"]]], [["a"], "b"]])
def test_lists_that_are_no_label_sets(cells):
    with pytest.raises(DataError, match=r"f\.csv, row"):
        read(cells, "multilabel")


def test_marks_that_are_not_0_or_1_and_a_separator_that_is_missing():
    with pytest.raises(DataError, match=r"expected 0 or 1(.|\n)*row 2, column 'y'"):
        read_labels(Table("f.csv", {"x": ["1", "0"], "y": ["1", "2"]}), ["x", "y"], "multilabel", None)
    with pytest.raises(DataError, match="label_separator"):
        read(["a", "b"], "multilabel")


def test_unknown_classes_are_all_named():
    check_known(["a", "b"], [1, 2], ["a", "b", "c"], "t.csv", "train.csv")
    with pytest.raises(DataError) as caught:
        check_known(["a", "Spam", "x", "x"], [1, 4, 6, 9], ["a", "spam"], "t.csv", "train.csv")
    assert caught.value.what == "2 classes that train.csv does not have: 'Spam' (1 row), 'x' (2 rows)"
    assert caught.value.where == "t.csv, row 4"
    assert "did you mean 'spam'?" in caught.value.fix
