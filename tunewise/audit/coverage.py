"""Groups of sensitive columns that have few rows, or whose labels differ from those of others beyond chance."""

from __future__ import annotations

from collections import Counter
from collections.abc import Iterator
from dataclasses import dataclass, replace

import numpy as np

from tunewise.audit.finding import Finding
from tunewise.audit.found import found_in_split
from tunewise.audit.groups import bears, label_names, listed_with_counts, values_of
from tunewise.audit.view import View
from tunewise.data.table import printable
from tunewise.evaluate import many_tests
from tunewise.types import Split

FEW = 30
"""Rows below which a group's rates and scores say little; such groups take no part in tests."""

LEVEL = 0.05
"""Of the tests of one split together."""

LEAST_EXPECTED = 5.0
"""A chi-squared test holds where so many rows are expected in every cell (Cochran 1954); smaller classes are joined."""


@dataclass(frozen=True)
class Trial:
    """Whether labels differ between the groups of a column: the test's statistic, degrees of freedom, and p before and
    after correction for all tests of the split. `label`: which label was tested; None for all classes at once."""

    column: str
    label: str | None
    statistic: float
    freedom: int
    p: float
    corrected: float = 1.0


def lacks(view: View) -> str:
    """Groups are those of columns that the recipe names."""
    return "" if view.sensitive else "needs data.sensitive, which names no column"


def find(view: View) -> Iterator[Finding]:
    """Per split and column of `data.sensitive`: groups with few rows; label rates that differ between the others."""
    for name, split in view.data.splits.items():
        for column in view.sensitive:
            if found := _few(split, column):
                yield found
        for tested in holm([test for column in view.sensitive for test in _tests(view, split, column)]):
            if tested.corrected < LEVEL:
                yield _differing(view, split, tested)
        view.progress((list(view.data.splits).index(name) + 1) / len(view.data.splits))


def _few(split: Split, column: str) -> Finding | None:
    counts = Counter(values_of(split, column))
    small = {value: count for value, count in sorted(counts.items(), key=lambda entry: entry[1]) if count < FEW}
    if not small:
        return None
    told = listed_with_counts(small)
    return found_in_split(
        "coverage",
        split,
        what=f"{len(small):,} of {len(counts):,} groups of '{printable(column)}' have fewer than {FEW} rows: {told}",
        fix="rates and scores of so few rows are rough: add rows of these groups, or say nothing of them",
        details={"column": column, "rows": small},
    )


def _differing(view: View, split: Split, tested: Trial) -> Finding:
    values = values_of(split, tested.column)
    groups = _large(values)
    how = f"p {tested.corrected:.2g} by {_test_name(view)}, {tested.freedom} degrees of freedom, Holm over all tests"
    if view.task == "regression":
        rates = {group: float(np.median(split.targets[values == group])) for group in groups}
        what = "the numbers"
    else:
        marks, names = bears(view, split), label_names(view)
        label = tested.label or _most_different(marks, names, values, groups)
        rates = {group: float(marks[values == group, names.index(label)].mean()) for group in groups}
        what = f"the rates of '{printable(label)}'" if tested.label else "the rates of classes"
    low, high = min(rates, key=rates.get), max(rates, key=rates.get)

    def told(group: str) -> str:
        rate = f"{rates[group]:g}" if view.task == "regression" else f"{rates[group]:.1%}"
        return f"{rate} of {int((values == group).sum()):,} rows with '{printable(group)}'"

    of = "the median is" if view.task == "regression" else f"'{printable(label)}' is"
    return found_in_split(
        "coverage",
        split,
        what=f"{what} differ between groups of '{printable(tested.column)}' beyond chance ({how}): {of} {told(high)}, "
        f"{told(low)}",
        fix="a model may learn the group in the place of the label: look at scores by group, and whether labels were "
        "given in the same way",
        details={
            "column": tested.column,
            "label": tested.label,
            "statistic": tested.statistic,
            "freedom": tested.freedom,
            "p": tested.p,
            "p_corrected": tested.corrected,
            "rates": rates,
        },
    )


def _test_name(view: View) -> str:
    return "the Kruskal-Wallis test" if view.task == "regression" else "the chi-squared test"


def _large(values: np.ndarray) -> list[str]:
    return sorted(value for value, count in Counter(values).items() if count >= FEW)


def _most_different(marks: np.ndarray, names: tuple[str, ...], values: np.ndarray, groups: list[str]) -> str:
    rates = np.stack([marks[values == group].mean(axis=0) for group in groups])
    return names[int(np.ptp(rates, axis=0).argmax())]


def _tests(view: View, split: Split, column: str) -> Iterator[Trial]:
    """One test for the classes of a column, one for each label of a multi-label task or type of entity; Kruskal and
    Wallis (1952) for numbers. None where fewer than two groups have rows enough."""
    values = values_of(split, column)
    groups = _large(values)
    if len(groups) < 2:
        return
    if view.task == "regression":
        from scipy.stats import kruskal

        parts = [split.targets[values == group] for group in groups]
        if len(np.unique(np.concatenate(parts))) > 1:
            found = kruskal(*parts)
            yield Trial(column, None, float(found.statistic), len(groups) - 1, float(found.pvalue))
        return
    marks = bears(view, split)
    counts = np.stack([marks[values == group].sum(axis=0) for group in groups])
    if view.task == "classification":
        yield from _chi_squared(column, None, counts)
        return
    rows = np.array([(values == group).sum() for group in groups])
    for place, label in enumerate(label_names(view)):
        yield from _chi_squared(column, label, np.stack([counts[:, place], rows - counts[:, place]], axis=1))


def _chi_squared(column: str, label: str | None, counts: np.ndarray) -> Iterator[Trial]:
    """Pearson's test of a table, groups x classes (G, C), without a continuity correction; nothing where too few rows
    are expected in its cells."""
    table = with_rows_enough(counts)
    if table.shape[1] < 2:
        return
    from scipy.stats import chi2_contingency

    found = chi2_contingency(table, correction=False)
    yield Trial(column, label, float(found.statistic), int(found.dof), float(found.pvalue))


def with_rows_enough(counts: np.ndarray) -> np.ndarray:
    """The table (G, C) with the classes of which LEAST_EXPECTED rows are not expected in every group joined into one,
    and left out where that is not enough either."""
    least = counts.sum(axis=1).min() / counts.sum()
    usual = counts.sum(axis=0) * least >= LEAST_EXPECTED
    rest = counts[:, ~usual].sum(axis=1)
    table = counts[:, usual]
    return np.column_stack([table, rest]) if rest.sum() * least >= LEAST_EXPECTED else table


def holm(tests: list[Trial]) -> list[Trial]:
    """The tests with p corrected for their number, in their order."""
    corrected = many_tests.holm([test.p for test in tests])
    return [replace(test, corrected=p) for test, p in zip(tests, corrected, strict=True)]
