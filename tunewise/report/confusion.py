"""Which classes are taken for which."""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any

from tunewise.report.contents import Comparison
from tunewise.report.entries import Entry, named_tests
from tunewise.report.figures import plain

MATRIX_LIMIT = 20
"""Matrices of more classes than this are not drawn: nobody could read them."""


def worst_pairs(counts: Sequence[Sequence[int]], labels: Sequence[str], at_most: int = 10) -> list[dict[str, str]]:
    """The most frequent confusions: true class, decided class, count and share of the true class.

    Args:
        counts: (C, C), rows are true classes.
    """
    found = [
        (cell, true, decided)
        for true, row in enumerate(counts)
        for decided, cell in enumerate(row)
        if cell and true != decided
    ]
    found.sort(key=lambda pair: (-pair[0], pair[1], pair[2]))
    return [
        {
            "true": plain(labels[true], 60),
            "decided": plain(labels[decided], 60),
            "count": f"{cell:,}",
            "share": f"{cell / sum(counts[true]):.0%}",
        }
        for cell, true, decided in found[:at_most]
    ]


def confusions(entries: list[Entry], comparison: Comparison) -> list[tuple[Entry, list[list[int]]]]:
    """The confusion matrix of each entry on the main test set, added up over seeds."""
    tests = named_tests(comparison)
    found = []
    for entry in entries:
        matrices = [run["confusion"][tests[0]] for run in entry.finished if (run["confusion"] or {}).get(tests[0])]
        if matrices:
            found.append(
                (entry, [[sum(cells) for cells in zip(*rows, strict=True)] for rows in zip(*matrices, strict=True)])
            )
    return found


def confusion_lists(entries: list[Entry], comparison: Comparison) -> list[dict[str, Any]]:
    """The most frequent confusions of the chosen entry, and of the others where there are too many classes to draw."""
    labels = comparison["data"]["schema"].get("labels") or []
    found = confusions(entries, comparison)
    if len(labels) <= MATRIX_LIMIT:
        found = found[:1]
    return [{"name": entry.name, "pairs": worst_pairs(counts, labels)} for entry, counts in found]
