"""What the finished runs of a comparison said of the test rows, one set of predictions per seed, and how it is scored.

With folds, the predictions of a method with a seed on all folds are joined: each row is predicted once, by the model
that did not see it. Statistics are then over rows and seeds, as without folds; folds are no repeats, since their
training rows overlap (Bengio and Grandvalet 2004, No unbiased estimator of the variance of k-fold cross-validation).
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass

import numpy as np

from tunewise.check import Checked
from tunewise.comparison.entry import Entry
from tunewise.comparison.folds import Folds
from tunewise.comparison.recommend import mean_scores
from tunewise.errors import StoreError
from tunewise.evaluate.by_fold import by_fold
from tunewise.evaluate.evaluator import Evaluator
from tunewise.tracking.predictions import read_predictions
from tunewise.tracking.record import RunRecord
from tunewise.types import Predictions


@dataclass(frozen=True)
class Judged:
    """By name: `test` the predictions of each seed, all on the rows of `texts`, `scores` what they give by every
    metric, `validation` the mean of the metric. `evaluator` scores `test`."""

    test: Mapping[str, list[Predictions]]
    texts: Sequence[tuple[str, ...]]
    scores: Mapping[str, list[dict[str, float]]]
    validation: Mapping[str, float]
    evaluator: Evaluator


def judge(finished: Mapping[Entry, RunRecord], checked: Checked, folds: Folds | None) -> Judged:
    """With folds, a seed counts once all its folds have finished.

    Raises:
        StoreError: a row was predicted twice.
    """
    main = next(iter(checked.data.tests))
    if folds is not None:
        finished = _whole(finished, folds.count)
    test = predictions_of(finished, main)
    validation = mean_scores(predictions_of(finished, "validation"), checked.evaluator, checked.metric)
    if folds is None:
        scores: dict[str, list[dict[str, float]]] = {}
        for entry, record in finished.items():
            scores.setdefault(entry.name, []).append({name: of.value for name, of in record.scores[main].items()})
        return Judged(test, checked.data.splits[main].texts, scores, validation, checked.evaluator)
    evaluator = by_fold(checked.evaluator, folds.fold_of_row)
    seeds: dict[tuple[str, int], list[Predictions]] = {}
    for name, said in test.items():
        for entry, predictions in zip((entry for entry in finished if entry.name == name), said, strict=True):
            seeds.setdefault((name, entry.seed), []).append(predictions)
    joined: dict[str, list[Predictions]] = {}
    for (name, _), parts in seeds.items():
        joined.setdefault(name, []).append(join(parts))
    scores = {name: [evaluator.score(said) for said in runs] for name, runs in joined.items()}
    return Judged(joined, folds.texts, scores, validation, evaluator)


def predictions_of(finished: Mapping[Entry, RunRecord], split: str) -> dict[str, list[Predictions]]:
    """What each run said of a split, by name."""
    runs: dict[str, list[Predictions]] = {}
    for entry in finished:
        runs.setdefault(entry.name, []).append(read_predictions(entry.folder, split))
    return runs


def join(parts: Sequence[Predictions]) -> Predictions:
    """The predictions of several folds as one, in the order of row numbers. Rows of words are as long as the longest.

    Raises:
        StoreError: a row is in two of them.
    """
    rows = np.concatenate([part.rows for part in parts])
    order = np.argsort(rows, kind="stable")
    if len(np.unique(rows)) < len(rows):
        twice = rows[order][1:][np.diff(rows[order]) == 0]
        raise StoreError(
            f"{len(twice)} rows were tested by two folds",
            where=f"row {int(twice[0])}",
            fix="run the comparison again, in another --out",
        )
    return Predictions(
        _stacked([part.scores for part in parts], np.nan)[order],
        _stacked([part.decisions for part in parts], -1)[order],
        _stacked([part.targets for part in parts], -1)[order],
        rows[order],
        *(_texts(columns, order) for columns in zip(*(part.texts for part in parts), strict=True)),
    )


def _texts(columns: Sequence[Sequence[str | None]], order: np.ndarray) -> tuple[str | None, ...]:
    """Texts of all parts in the order of rows; none, where a part has none."""
    joined = [text for column in columns for text in column]
    return tuple(joined[place] for place in order) if len(joined) == len(order) else ()


def _stacked(parts: Sequence[np.ndarray], filler: float) -> np.ndarray:
    """One below the other; where the second axes differ (the words of a row), shorter ones are filled up."""
    if len({part.shape[1:] for part in parts}) == 1:
        return np.concatenate(parts)
    width = max(part.shape[1] for part in parts)

    def filled(part: np.ndarray) -> np.ndarray:
        missing = [(0, 0), (0, width - part.shape[1])] + [(0, 0)] * (part.ndim - 2)
        return np.pad(part, missing, constant_values=filler)

    return np.concatenate([filled(part) for part in parts])


def _whole(finished: Mapping[Entry, RunRecord], count: int) -> dict[Entry, RunRecord]:
    """The runs of a name and seed of which every fold has finished."""
    done: dict[tuple[str, int], int] = {}
    for entry in finished:
        done[entry.name, entry.seed] = done.get((entry.name, entry.seed), 0) + 1
    return {entry: record for entry, record in finished.items() if done[entry.name, entry.seed] == count}
