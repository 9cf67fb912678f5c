"""What gives the label away: another column, the order of the file, the label's own name in the text.

A column gives the label away where its value alone, on rows that were held out, takes half of the error of the best
constant guess away: 1 - error / error of the constant, which is (accuracy - majority) / (1 - majority) of a class, and
R squared of a number.
"""

from __future__ import annotations

from collections.abc import Iterator

import numpy as np

from tunewise.audit.finding import Finding
from tunewise.audit.foretelling import error_taken_away, order_effect
from tunewise.audit.found import found_in_rows, found_in_split
from tunewise.audit.label_names import names_in_texts
from tunewise.audit.view import View
from tunewise.types import Split

ENOUGH = 0.5
"""Share of the error that must be taken away."""

_ROWS = 20  # below which nothing can be told
_TEXT = 0.5  # share of values that stand once, from which on a column that is no number is text or names the row
_FEW = 10  # rows of a label below which nothing can be told about it


def find(view: View) -> Iterator[Finding]:
    """Of the training rows, one finding for each column, one for the order of the file, and one for label names."""
    train = view.data.splits["train"]
    if len(train) < _ROWS or view.task == "token_classification":
        return
    for number, (name, cells) in enumerate(train.columns.items()):
        view.progress(number / len(train.columns))
        if is_feature(cells):
            yield from _of_column(view, train, name, cells)
    yield from _of_order(view, train)
    if view.task != "regression":
        yield from _of_names(view, train)


def is_feature(cells: tuple[str, ...]) -> bool:
    """Whether a column may say something of a row: neither text, nor the name or number of each row."""
    distinct = len(set(cells))
    if distinct < 2:
        return False
    numbers = numbers_of(cells)
    if numbers is None:
        return distinct <= _TEXT * len(cells)
    whole = bool((numbers[~np.isnan(numbers)] % 1 == 0).all())
    return not (whole and distinct > 0.9 * len(cells))


def numbers_of(cells: tuple[str, ...]) -> np.ndarray | None:
    """The numbers of a column, float64 (n,), NaN where a cell is empty; None where a cell is no finite number."""
    try:
        numbers = np.array([float(cell) if cell.strip() else np.nan for cell in cells])
    except ValueError:
        return None
    return None if np.isinf(numbers).any() or np.isnan(numbers).all() else numbers


def _of_column(view: View, train: Split, name: str, cells: tuple[str, ...]) -> Iterator[Finding]:
    numbers = numbers_of(cells)
    taken = {
        label: error_taken_away(cells if numbers is None else numbers, targets)
        for label, targets in _targets(view, train)
    }
    given = {label: share for label, share in taken.items() if share >= ENOUGH}
    if not given:
        return
    label, share = max(given.items(), key=lambda found: found[1])
    which = f"the label {label}" if label else "the label" if view.task == "classification" else "the number to predict"
    more = f", and {len(given) - 1:,} more labels" if len(given) > 1 else ""
    yield found_in_split(
        "giveaway",
        train,
        what=f"column '{name}' gives {which} away{more}: on rows that were held out, its value alone takes "
        f"{share:.0%} of the error of the best constant guess away",
        fix="the model does not read this column; but if it was made from the label, or the label from it, look "
        "whether the text tells of it too",
        details={"column": name, "error_taken_away": round(share, 4)},
    )


def _targets(view: View, train: Split) -> Iterator[tuple[str, np.ndarray]]:
    """What is to be foretold: the label, or each of several that enough rows have, and enough have not."""
    if view.task != "multilabel":
        yield "", train.targets
        return
    for place, label in enumerate(view.data.schema.labels):
        marks = train.targets[:, place].astype(np.int64)
        if _FEW <= marks.sum() <= len(marks) - _FEW:
            yield f"'{label}'", marks


def _of_order(view: View, train: Split) -> Iterator[Finding]:
    if view.task == "multilabel":
        return
    effect = order_effect(train.targets[np.argsort(train.rows, kind="stable")])
    if effect >= ENOUGH:
        yield found_in_split(
            "giveaway",
            train,
            what=f"the file is sorted: rows beside each other have the same label far more often than by chance "
            f"(by {effect:.0%} of what is possible)"
            if view.task == "classification"
            else f"the file is sorted: the numbers of rows beside each other are alike (correlation {effect:.2f})",
            fix="training draws its own order, so that this does no harm here; do not cut such a file by position",
            details={"order_effect": round(effect, 4)},
        )


def _of_names(view: View, train: Split) -> Iterator[Finding]:
    known = view.data.schema.labels
    marks = train.targets if view.task == "multilabel" else train.targets[:, None] == np.arange(len(known))
    given: dict[str, tuple[float, float]] = {}
    notes: dict[int, str] = {}
    for label, mine, has in zip(known, marks.T > 0, names_in_texts(known, train.texts), strict=True):
        if has is None or not _FEW <= mine.sum() <= len(mine) - _FEW:
            continue
        own, others = float(has[mine].mean()), float(has[~mine].mean())
        if own >= ENOUGH and others <= own / 10:
            given[label] = own, others
            notes |= {int(place): f"labelled {label}" for place in np.flatnonzero(has & mine)}
    if given:
        label, (own, others) = max(given.items(), key=lambda found: found[1][0] - found[1][1])
        more = f"; {len(given):,} labels are so" if len(given) > 1 else ""
        yield found_in_rows(
            "giveaway",
            train,
            dict(sorted(notes.items())),
            what=f"texts hold the name of their label: '{label}' stands in {own:.0%} of its rows, and in {others:.1%} "
            f"of the others{more}",
            fix="if texts were made from the labels, or labels from a word of the text, a model learns that word alone",
            details={name: {"own": round(own, 4), "others": round(rest, 4)} for name, (own, rest) in given.items()},
        )
