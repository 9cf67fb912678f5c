"""Which rows of a test set are shown, by hand."""

from __future__ import annotations

import numpy as np

from tunewise.evaluate.notable_rows import confident_mistakes, rows_to_look_at, said_of, spread_rows
from tunewise.types import Predictions


def of_classes(scores, targets) -> Predictions:
    scores, targets = np.array(scores, dtype=float), np.array(targets)
    return Predictions(scores, scores.argmax(axis=1), targets, np.arange(len(targets)) + 1)


def of_labels(scores, targets) -> Predictions:
    scores, targets = np.array(scores, dtype=float), np.array(targets, dtype=np.float32)
    return Predictions(scores, (scores >= 0.5).astype(np.int64), targets, np.arange(len(targets)) + 1)


def test_the_first_of_each_class_then_the_second():
    targets = np.array([1, 1, 1, 0, 2, 0])
    assert spread_rows(targets, "classification", 4) == [3, 0, 4, 5]
    assert spread_rows(targets, "classification", 99) == [3, 0, 4, 5, 1, 2]
    marks = np.array([[0, 1], [0, 0], [1, 1], [0, 1]], dtype=np.float32)  # by the first label; row 1 bears none
    assert spread_rows(marks, "multilabel", 99) == [2, 0, 1, 3]
    assert spread_rows(np.array([5.0, 1.0, 9.0, 2.0, 3.0]), "regression", 3) == [1, 4, 2]
    assert spread_rows(np.array([5.0, 1.0]), "regression", 3) == [1, 0]


def test_the_most_certain_mistakes_come_first():
    said = of_classes([[0.6, 0.4], [0.9, 0.1], [0.1, 0.9], [0.2, 0.8], [0.1, 0.9]], [1, 1, 1, 0, 0])
    assert confident_mistakes(said, "classification") == [1, 4, 3, 0]
    said = of_labels([[0.9, 0.45], [0.6, 0.2], [0.1, 0.3]], [[1, 1], [0, 0], [1, 0]])
    assert confident_mistakes(said, "multilabel") == [2, 1, 0]  # errors of wrong labels: 0.55, 0.6, 0.9
    values = np.array([1.0, 5.0, 3.0])
    said = Predictions(values, values, np.array([1.5, 1.0, 3.0]), np.arange(3))
    assert confident_mistakes(said, "regression") == [1, 0, 2]


def test_what_is_told_of_a_row():
    said = of_classes([[0.6, 0.4]], [1])
    told = said_of(said, 0, "classification")
    assert (told.output, told.probability, told.right) == (0, 0.6, False)
    said = of_labels([[0.9, 0.45], [0.9, 0.2]], [[1, 1], [1, 0]])
    wrong, right = said_of(said, 0, "multilabel"), said_of(said, 1, "multilabel")
    assert (wrong.output, wrong.probability, wrong.right) == (1, 0.45, False)
    assert (right.output, right.probability, right.right) == (0, 0.9, True)
    values = np.array([1.0])
    assert said_of(Predictions(values, values, np.array([3.0]), np.arange(1)), 0, "regression").error == 2.0


def test_half_of_what_is_looked_at_are_mistakes():
    said = of_classes([[0.6, 0.4], [0.9, 0.1], [0.1, 0.9], [0.2, 0.8], [0.7, 0.3]], [1, 1, 1, 0, 0])
    chosen = rows_to_look_at(said, "classification", 4)
    # The first of each class are rows 3 (itself a mistake) and 0; of the other mistakes there is 1 alone.
    assert chosen == {3: "some of each class", 0: "some of each class", 1: "a mistake", 4: "some of each class"}
    assert len(rows_to_look_at(said, "classification", 99)) == 5
    assert list(rows_to_look_at(said, "classification", 1)) == [3]
