"""Labels that are likely wrong, by confident learning on what a linear model says of rows it has not learned from.

Shape legend: N rows, C labels.
"""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from dataclasses import asdict, dataclass

import numpy as np

from tunewise.audit.finding import CannotLook, Finding
from tunewise.audit.found import found_in_rows
from tunewise.audit.label_features import label_features
from tunewise.audit.out_of_fold import fitted, out_of_fold
from tunewise.audit.view import View
from tunewise.types import Schema, Split

LEAST = 5  # different texts that a class needs, so that every model of the cross-validation has seen some
FAR = 4.0  # robust standard deviations by which a number is off before it is told


@dataclass(frozen=True)
class Suspect:
    """A row whose label is likely wrong: its number in the source, both labels (a name, a list of names, or a number),
    and the quality of the given one, 0 to 1: the lower, the more likely it is wrong."""

    row: int
    given: str | list[str] | float
    suggested: str | list[str] | float
    score: float


@dataclass(frozen=True, eq=False)
class _Judged:
    """Of the rows of all splits, one after the other: `wrong` bool (N,), `quality` (N,), `suggested` as targets."""

    wrong: np.ndarray
    quality: np.ndarray
    suggested: np.ndarray


def find(view: View) -> Iterator[Finding]:
    """Train is judged by cross-validation within train, every other split by a model of train, so that corrections of
    train are made without a look at the test. Which labels are wrong is decided by the package cleanlab: in train from
    its own rows, in the other splits, which may be small, from the rows of all (Northcutt et al. 2021,
    "Confident Learning"); for numbers, those far off the predicted ones are told.

    Raises:
        CannotLook: the labels are of words, or there are too few rows.
    """
    if view.task == "token_classification":
        raise CannotLook("is for classes, labels and numbers of whole texts; the task is token_classification")
    splits = view.data.splits
    targets = np.concatenate([split.targets for split in splits.values()])
    judges = _judgeable(view, splits["train"])
    rows = np.isin(targets, judges) if view.task == "classification" else np.ones(len(targets), dtype=bool)
    scores = _scores(view, rows, judges)
    origin = np.concatenate([np.full(len(split), place) for place, split in enumerate(splits.values())])[rows]
    inner = np.concatenate([np.arange(len(split)) for split in splits.values()])[rows]
    train = origin == list(splits).index("train")
    judged = _JUDGE[view.task](targets[rows], scores, judges)
    alone = _JUDGE[view.task](targets[rows][train], scores[train], judges)
    judged.wrong[train], judged.quality[train], judged.suggested[train] = alone.wrong, alone.quality, alone.suggested
    for place, split in enumerate(splits.values()):
        mine = np.flatnonzero(origin == place)
        bad = mine[judged.wrong[mine]]
        bad = bad[np.argsort(judged.quality[bad], kind="stable")]
        if len(bad):
            suspects = [_suspect(view, split, inner[one], judged, one) for one in bad]
            yield _finding(split, inner[bad].tolist(), suspects, len(mine))


def _judgeable(view: View, train: Split) -> np.ndarray:
    """The places of the classes or labels that train has enough texts of."""
    if view.task == "regression":
        enough, judges = len(set(train.texts)) >= 2 * LEAST, np.zeros(1, dtype=np.int64)
    else:
        classes = len(view.data.schema.labels)
        marks = np.eye(classes)[train.targets] if view.task == "classification" else train.targets
        counts = np.array([[_texts(train, marks[:, c] == side) for side in (1, 0)] for c in range(classes)])
        judges = np.flatnonzero((counts >= LEAST).all(axis=1))
        enough = len(judges) >= (2 if view.task == "classification" else 1)
    if not enough:
        raise CannotLook(f"needs at least {LEAST} different texts of each of two classes in train")
    return judges


def _texts(split: Split, rows: np.ndarray) -> int:
    return len({split.texts[place] for place in np.flatnonzero(rows)})


def _scores(view: View, rows: np.ndarray, judges: np.ndarray) -> np.ndarray:
    """What models say of the rows that are judged, split by split: (N, C) of the judged classes alone, or (N,)."""
    splits, task = view.data.splits, view.task
    features = label_features(view, lambda share: view.progress(share / 2))
    if task == "regression":
        schema, place = view.data.schema, {}
    else:
        schema = Schema(task, view.data.schema.text, view.data.schema.label, tuple(map(str, judges)))
        place = {int(label): number for number, label in enumerate(judges)}
    start, parts = 0, []
    for name, split in splits.items():
        mine = np.flatnonzero(rows[start : start + len(split)])
        start += len(split)
        asked = features[name][mine]
        if name == "train":
            targets = split.targets[mine]
            if task == "classification":
                targets = np.array([place[int(target)] for target in targets], dtype=np.int64)
            elif task == "multilabel":
                targets = targets[:, judges]
            texts = [split.texts[one] for one in mine]
            parts.append(
                out_of_fold(
                    texts, _strata(task, targets), asked, targets, schema, lambda s: view.progress(0.5 + s / 2.2)
                )
            )
            model = fitted(asked, targets, schema)
        else:
            parts.append(model(asked))
    view.progress(1.0)
    return np.concatenate(parts)


def _strata(task: str, targets: np.ndarray) -> Sequence[int]:
    """What folds are dealt out by: the class, or the rarest of a row's labels."""
    if task == "classification":
        return targets.tolist()
    if task == "regression":
        return [0] * len(targets)
    rarity = np.where(targets > 0, targets.sum(axis=0), np.inf)
    return np.where(targets.any(axis=1), rarity.argmin(axis=1), -1).tolist()


def _judge_classes(targets: np.ndarray, scores_NC: np.ndarray, judges: np.ndarray) -> _Judged:
    from cleanlab.filter import find_label_issues
    from cleanlab.rank import get_label_quality_scores

    labels = np.searchsorted(judges, targets)
    # As many as the estimated noise makes likely, those of lowest quality. On the example data with 5% of labels
    # turned, this told 92 rows and 81% of those turned, `both` 109 rows and 77%.
    wrong = find_label_issues(labels, scores_NC, filter_by="low_self_confidence", n_jobs=1)
    quality = get_label_quality_scores(labels, scores_NC, method="self_confidence")
    best = scores_NC.argmax(axis=1)
    return _Judged(wrong & (best != labels), quality, judges[best])


def _judge_labels(targets: np.ndarray, scores_NC: np.ndarray, judges: np.ndarray) -> _Judged:
    """The labels of a row that are likely wrong are turned about in what is suggested."""
    from cleanlab.multilabel_classification.filter import find_multilabel_issues_per_class
    from cleanlab.multilabel_classification.rank import get_label_quality_scores

    names = [np.flatnonzero(row).tolist() for row in targets[:, judges]]
    wrong_NC = find_multilabel_issues_per_class(names, scores_NC, filter_by="both", n_jobs=1)
    wrong_NC &= (scores_NC >= 0.5) != (targets[:, judges] > 0)
    suggested = targets.copy()
    suggested[:, judges] = np.where(wrong_NC, 1 - targets[:, judges], targets[:, judges])
    return _Judged(wrong_NC.any(axis=1), get_label_quality_scores(names, scores_NC), suggested)


def _judge_numbers(targets: np.ndarray, values_N: np.ndarray, _: np.ndarray) -> _Judged:
    """By robust standard deviations from what is predicted: 1.4826 times the median distance from the median residual
    (Rousseeuw and Croux 1993); the quality is exp(-z), cleanlab's score of a residual of that size."""
    residuals_N = targets.astype(np.float64) - values_N
    from_middle_N = np.abs(residuals_N - np.median(residuals_N))
    scale = 1.4826 * float(np.median(from_middle_N)) or float(residuals_N.std()) or 1.0
    z_N = from_middle_N / scale
    return _Judged(z_N > FAR, np.exp(-z_N), values_N)


_JUDGE = {"classification": _judge_classes, "multilabel": _judge_labels, "regression": _judge_numbers}


def _suspect(view: View, split: Split, place: int, judged: _Judged, one: int) -> Suspect:
    row, score = int(split.rows[place]), round(float(judged.quality[one]), 6)
    given, suggested, labels = split.targets[place], judged.suggested[one], view.data.schema.labels
    if view.task == "regression":
        return Suspect(row, float(given), float(f"{suggested:.4g}"), score)
    if view.task == "classification":
        return Suspect(row, labels[int(given)], labels[int(suggested)], score)
    return Suspect(row, *([labels[c] for c in np.flatnonzero(marks)] for marks in (given, suggested)), score)


def _finding(split: Split, places: list[int], suspects: list[Suspect], judged: int) -> Finding:
    notes = {
        place: f"labelled {_words(one.given)}, reads like {_words(one.suggested)} (quality {one.score:.2f})"
        for place, one in zip(places, suspects, strict=True)
    }
    left = len(split) - judged
    rest = f"; {left:,} rows of classes with less than {LEAST} texts in train were not judged" if left else ""
    return found_in_rows(
        "label_errors",
        split,
        notes,
        what=f"{len(places):,} of {judged:,} labels are likely wrong{rest}",
        fix="`tunewise check --suspects FILE` writes them to a table; look through it, and let data.clean.labels read "
        "it: a model can be wrong where the label is right",
        details={"suspects": [asdict(one) for one in suspects], "not_judged": left},
    )


def _words(label: str | list[str] | float) -> str:
    if isinstance(label, list):
        return ", ".join(label) or "no label"
    return f"{label:g}" if isinstance(label, float) else label
