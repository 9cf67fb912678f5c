from __future__ import annotations

import json
from dataclasses import asdict

import numpy as np
import pytest

from tunewise.comparison.disagreements import disagreements
from tunewise.types import Predictions, Schema

THREE = Schema("classification", ("text",), "label", ("a", "b", "c"))
TAGS = Schema("multilabel", ("text",), "tags", ("red", "blue"))
PRICE = Schema("regression", ("text",), "price")


def classes(*decisions: int, lean: float = 0.9) -> Predictions:
    scores = np.eye(3)[list(decisions)] * (lean - (1 - lean) / 2) + (1 - lean) / 2
    return Predictions(scores, np.array(decisions), np.array([0, 1, 2, 0]), np.array([7, 8, 12, 13]))


def test_most_split_rows_come_first() -> None:
    found = disagreements(
        {"x": [classes(0, 1, 2, 0)], "y": [classes(0, 1, 1, 0)], "z": [classes(0, 2, 0, 0)], "failed": []}, THREE
    )
    assert [(each.row, each.index, each.truth) for each in found] == [(12, 2, "c"), (8, 1, "b")]
    assert found[0].decisions == {"x": "c", "y": "b", "z": "a"}
    assert [each.split for each in found] == pytest.approx([1.0, 2 / 3])
    assert disagreements({"x": [classes(0, 1, 2, 0)], "y": [classes(1, 2, 0, 1)]}, THREE, at_most=2)[-1].row == 8
    assert disagreements({"x": [classes(0, 1, 2, 0)]}, THREE) == ()


def test_most_seeds_decide_and_the_surer_ones_where_votes_are_equal() -> None:
    seeds = [classes(0, 1, 2, 0), classes(1, 1, 2, 1, lean=0.99), classes(1, 1, 2, 2, lean=0.5)]
    found = disagreements({"seeds": seeds, "one": [classes(0, 1, 2, 0)]}, THREE)
    assert [(each.row, each.decisions["seeds"]) for each in found] == [(7, "b"), (13, "b")]
    tied = disagreements({"seeds": seeds[:2], "one": [classes(2, 1, 2, 2)]}, THREE)
    assert [each.decisions["seeds"] for each in tied] == ["b", "b"]


def test_labels_are_named_and_numbers_ranked_by_spread() -> None:
    def tags(*marks: list[int]) -> Predictions:
        said = np.array(marks)
        return Predictions(said * 0.8 + 0.1, said, np.array([[1.0, 0], [1, 1]], dtype=np.float32), np.array([1, 2]))

    (only,) = disagreements({"x": [tags([1, 0], [1, 1])], "y": [tags([1, 0], [0, 1])]}, TAGS)
    assert (only.truth, only.decisions, only.split) == (("red", "blue"), {"x": ("red", "blue"), "y": ("blue",)}, 0.5)

    def prices(*values: float) -> Predictions:
        said = np.array(values)
        return Predictions(said, said, np.array([1, 2, 3], dtype=np.float32), np.array([1, 2, 3]))

    found = disagreements({"x": [prices(1, 2, 3), prices(2, 2, 5)], "y": [prices(1, 2, 0)]}, PRICE)
    assert [(each.row, each.split) for each in found] == [(3, 4.0), (1, 0.5)]
    assert found[0].decisions == {"x": 4.0, "y": 0.0}
    assert json.loads(json.dumps([asdict(each) for each in found]))[0]["truth"] == 3.0


def test_entities_are_named_by_their_words() -> None:
    schema = Schema("token_classification", ("tokens",), "tags", ("O", "B-per", "I-per"))
    texts = (("Ann Lee met Bo",), ("he left",))
    targets = np.array([[1, 2, 0, 1], [0, 0, -1, -1]])

    def said(*rows: list[int], sure: float = 0.9) -> Predictions:
        decisions = np.array(rows)
        scores = np.where((decisions >= 0)[:, :, None], np.eye(3)[decisions] * sure + (1 - sure) / 3, np.nan)
        return Predictions(scores, decisions, targets, np.array([3, 9]))

    right, half = said([1, 2, 0, 1], [0, 0, -1, -1]), said([1, 0, 0, 1], [0, 0, -1, -1])
    wrong = said([1, 0, 0, 0], [1, 0, -1, -1])
    found = disagreements({"x": [right], "y": [half, half, wrong]}, schema, texts=texts)
    (only,) = found
    assert (only.row, only.truth, only.split) == (3, ("Ann Lee: per", "Bo: per"), pytest.approx(1 / 4))
    assert only.decisions == {"x": ("Ann Lee: per", "Bo: per"), "y": ("Ann: per", "Bo: per")}
    first, second = disagreements({"x": [right], "y": [wrong]}, schema, texts=texts)
    assert (first.row, second.row) == (3, 9)  # half of the words of both: in the order of the data
    assert (second.truth, second.decisions) == ((), {"x": (), "y": ("he: per",)})
    surer = said([0, 0, 0, 0], [0, 0, -1, -1], sure=0.99)
    (tied,) = disagreements({"x": [right], "y": [half, surer]}, schema, texts=texts)
    assert tied.decisions["y"] == ()
