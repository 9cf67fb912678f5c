"""Rows of a test set that are worth a look: some of each class, and the mistakes of which a model was most certain.

Shape legend: n rows, C labels.
"""

from __future__ import annotations

from dataclasses import dataclass

import numpy as np

from tunewise.types import Predictions, Task


@dataclass(frozen=True)
class Said:
    """What a model says of a row: `output` is the class (of several labels, the one that is told), None for a number;
    `probability` that of this class, None for a number; `error` how far a number is off."""

    output: int | None
    probability: float | None
    error: float | None
    right: bool


def spread_rows(targets: np.ndarray, task: Task, count: int) -> list[int]:
    """Places of rows: the first of each class, then the second of each, and so on, the classes in their order. Of
    several labels, a row is of its first one; rows without any are a class. Of numbers: from the least to the largest
    at equal distances in rank.

    Args:
        targets: (n,), or (n, C) of 0 and 1.
    """
    if task == "regression":
        order = np.argsort(targets, kind="stable")
        places = np.linspace(0, len(order) - 1, min(count, len(order))).round().astype(int)
        return [int(order[place]) for place in dict.fromkeys(places.tolist())]
    classes = targets if targets.ndim == 1 else np.where(targets.any(axis=1), targets.argmax(axis=1), targets.shape[1])
    turns = np.empty(len(classes), dtype=np.int64)
    for name in np.unique(classes):
        rows = np.flatnonzero(classes == name)
        turns[rows] = np.arange(len(rows))
    return [int(place) for place in np.lexsort((classes, turns))[:count]]


def said_of(predictions: Predictions, place: int, task: Task) -> Said:
    """What is told of a row: the decided class and its probability; of several labels, the one that is most wrong (or,
    where all are right, the most probable); a number and its error."""
    score, target, decision = (getattr(predictions, name)[place] for name in ("scores", "targets", "decisions"))
    if task == "regression":
        return Said(None, None, abs(float(score) - float(target)), True)
    if task == "classification":
        return Said(int(decision), float(score[int(decision)]), None, int(decision) == int(target))
    wrong = np.asarray(decision) != np.asarray(target)
    output = int(np.where(wrong, np.abs(score - target), -1.0).argmax() if wrong.any() else score.argmax())
    return Said(output, float(score[output]), None, not wrong.any())


def confident_mistakes(predictions: Predictions, task: Task) -> list[int]:
    """Places of wrong rows, the most certain first: by the probability of the wrong class; of several labels, by the
    largest error of a label that is wrong; of numbers all rows, by their error. Equals in the order of the data."""
    scores, targets, decisions = predictions.scores, predictions.targets, predictions.decisions
    if task == "regression":
        return [int(place) for place in np.argsort(-np.abs(scores - targets), kind="stable")]
    if task == "classification":
        wrong_n = decisions != targets
        certain_n = scores[np.arange(len(decisions)), decisions]
    else:
        wrong_nC = decisions != targets
        wrong_n = wrong_nC.any(axis=1)
        certain_n = np.where(wrong_nC, np.abs(scores - targets), -1.0).max(axis=1)
    places = np.flatnonzero(wrong_n)
    return [int(place) for place in places[np.argsort(-certain_n[places], kind="stable")]]


def rows_to_look_at(predictions: Predictions, task: Task, count: int) -> dict[int, str]:
    """Places of `count` rows and why each: half of them by `spread_rows`, which every model shares, half its most
    certain mistakes; where there are fewer of these, more by `spread_rows`."""
    spread = spread_rows(predictions.targets, task, len(predictions.targets))
    chosen = dict.fromkeys(spread[: count - count // 2], "some of each class")
    mistakes = [place for place in confident_mistakes(predictions, task) if place not in chosen]
    chosen |= dict.fromkeys(mistakes[: count // 2], "a mistake")
    rest = [place for place in spread if place not in chosen]
    return chosen | dict.fromkeys(rest[: count - len(chosen)], "some of each class")
