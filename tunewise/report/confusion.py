"""Which classes are taken for which."""

from __future__ import annotations

from collections.abc import Sequence

from tunewise.report.figures import plain


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
