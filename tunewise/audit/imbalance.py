"""Classes that have far fewer rows than others, too few to learn from, or none."""

from __future__ import annotations

from collections.abc import Iterator

import numpy as np

from tunewise.audit.finding import Finding
from tunewise.audit.found import found_in_split
from tunewise.audit.groups import bears, label_names, listed_with_counts
from tunewise.audit.view import View
from tunewise.data.table import listed

UNEQUAL = 4.0
"""From this ratio on a class counts as small: with two classes it has 20% of the rows, where Google's Machine Learning
Crash Course (Imbalanced datasets) begins to speak of moderate imbalance."""

FEW = 10
"""Training rows below which a class can hardly be learned."""

_REMEDY = "see docs/balancing.md: objective.class_weights, train.balanced_batches, data.balance"


def lacks(view: View) -> str:
    """Numbers have no classes."""
    return "" if view.data.schema.labels else f"is for classes; the task is {view.task}"


def find(view: View) -> Iterator[Finding]:
    """In train: classes of unequal size and classes with few rows; in other splits: classes without a row. Labels of a
    multi-label task and types of entities count the rows that bear them."""
    names = label_names(view)
    for split_name, split in view.data.splits.items():
        counts = bears(view, split).sum(axis=0)
        told = _of_train(view, names, counts, len(split)) if split_name == "train" else _of_other(view, names, counts)
        if told:
            what, fix = told
            by_name = {name: int(count) for name, count in zip(names, counts, strict=True)}
            smallest, largest = int(counts.min()), int(counts.max())
            yield found_in_split(
                "imbalance",
                split,
                what=what,
                fix=fix,
                details={"rows": by_name, "ratio": largest / smallest if smallest else None},
            )


def _of_train(view: View, names: tuple[str, ...], counts: np.ndarray, rows: int) -> tuple[str, str] | None:
    parts, fixes = [], []
    there = np.flatnonzero(counts)
    if not len(there):
        return f"no row has any of the {len(names):,} {_called(view)}", "is it the right column?"
    smallest, largest = there[counts[there].argmin()], int(counts.argmax())
    if counts[largest] >= UNEQUAL * counts[smallest]:
        share = f", and {counts[largest] / rows:.1%} of all" if view.task == "classification" else ""
        times = f"{counts[largest] / counts[smallest]:.1f} times as many as"
        parts.append(
            f"'{names[largest]}' has {counts[largest]:,} rows, {times} '{names[smallest]}' "
            f"({counts[smallest]:,}){share}"
        )
        fixes.append(_REMEDY)
    if without := [name for name, count in zip(names, counts, strict=True) if count == 0]:
        parts.append(f"{len(without):,} of {len(names):,} {_called(view)} have no row: {listed(without)}")
        fixes.append("take them out of data.labels, or add rows")
    if few := {name: int(count) for name, count in zip(names, counts, strict=True) if 0 < count < FEW}:
        parts.append(
            f"{len(few):,} of {len(names):,} {_called(view)} have fewer than {FEW} rows: {listed_with_counts(few)}"
        )
        fixes.append("add rows of these, or join them with others")
    return ("; ".join(parts), "; ".join(fixes)) if parts else None


def _of_other(view: View, names: tuple[str, ...], counts: np.ndarray) -> tuple[str, str] | None:
    without = [name for name, count in zip(names, counts, strict=True) if count == 0]
    if not without:
        return None
    what = f"{len(without):,} of {len(names):,} {_called(view)} have no row: {listed(without)}"
    return what, "scores say nothing of them: add rows of these to this split"


def _called(view: View) -> str:
    return {"classification": "classes", "multilabel": "labels"}.get(view.task, "types of entities")
