"""Class names that are probably not meant as they stand; and names that look so and are sound."""

from __future__ import annotations

import pytest

from tunewise.data.doubtful import Classes, check_classes, check_twins, doubt_steps
from tunewise.errors import DataError


def classes(*values) -> Classes:
    return Classes(values, range(11, 11 + len(values)), "f.csv", ["label"])


@pytest.mark.parametrize("twins", [("spam", "Spam"), ("spam", "spam "), ("a b", "a  B"), ("1", "1.0"), ("-2", "-2.00")])
def test_twins_are_named_with_counts_and_first_row(twins):
    with pytest.raises(DataError) as caught:
        check_twins(classes(*[twins[0]] * 7, *[twins[1]] * 3, "other"))
    for word in (repr(twins[0]), repr(twins[1]), "7 rows", "3 rows", "data.labels"):
        assert word in str(caught.value)
    assert caught.value.where in ("f.csv, row 18, column 'label'", "f.csv, row 11, column 'label'")


@pytest.mark.parametrize(
    "names",
    [
        ["1", "01", "1.5", "1-0", "a", "ab", "é", "e"],
        ["-1", "1"],
        ["-1", "0", "1"],
        ["-2", "-1", "0", "1", "2"],
        ["-1", "0", "1", "3"],
        ["-1", "a", "b", "c"],
        ["red|small", "blue|large", "|", "a,"],
        ["good, cheap", "good"],
        ["Paris, France", "Lyon, France"],
    ],
)
def test_names_that_are_sound(names):
    check_classes(classes(*names), None)


def test_minus_one_beside_ids():
    with pytest.raises(DataError, match=r"class '-1' \(2 rows\) beside the ids 0 to 2") as caught:
        check_classes(classes("0", "1", "-1", "2", "-1"), None)
    assert caught.value.where == "f.csv, row 13, column 'label'"
    (step,) = doubt_steps(classes("0", "1", "-1"), None, named=False)
    assert "'-1' (1 row) is taken as a class" in step.reason and step.rows_in == step.rows_out == 3
    assert doubt_steps(classes("0", "1", "-1"), None, named=True) == []


@pytest.mark.parametrize("mark", ["|", ";", ","])
def test_several_labels_in_a_cell(mark):
    with pytest.raises(DataError) as caught:
        check_classes(classes("a", "b", "c", f"c{mark} a"), None)
    assert caught.value.what == f"class 'c{mark} a' (1 row) is made of the classes 'c', 'a', divided by '{mark}'"
    assert f'`label_separator: "{mark}"`' in caught.value.fix
    other = ";" if mark != ";" else "|"
    with pytest.raises(DataError, match="correct `label_separator`"):
        check_classes(classes(("a",), ("b",), (f"a{mark}b",)), other)
    check_classes(classes(("a",), ("b",), ("a", "b")), mark)


def test_a_separator_in_no_cell_is_told():
    (step,) = doubt_steps(classes(("a",), ("b",), ()), "|", named=True)
    assert "no cell holds the separator '|'" in step.reason
    assert doubt_steps(classes(("a",), ("a", "b")), "|", named=False) == []


def test_the_first_row_of_a_class_among_several_labels():
    assert classes(("a",), ("a", "b")).where("b") == "f.csv, row 12, column 'label'"
    assert Classes([("x",)], [1], "f.csv", ["x", "y"]).where() == "f.csv, columns 'x', 'y'"
