"""Every check, in the order in which findings are shown: what is in this tuple is looked for."""

from __future__ import annotations

from collections.abc import Callable, Iterator
from dataclasses import dataclass

from tunewise.audit import (
    conflicting_labels,
    coverage,
    duplicates,
    encoding,
    giveaway,
    imbalance,
    label_errors,
    language,
    leakage,
    near_duplicates,
    near_leakage,
    outliers,
    personal_data,
    truncation,
    whitespace,
)
from tunewise.audit.finding import Finding
from tunewise.audit.settings import Kind
from tunewise.audit.view import View


@dataclass(frozen=True)
class Check:
    """One thing to look for.

    Attributes:
        find: what finds it; imports nothing heavy before it is called.
        title: what it is called on the page and in the terminal.
        brief: whether it is quick enough to be looked for before every training, beside what `data.prepare` tells.
        packages: what must be installed; where one is not, the check is left out, and this is told.
        fine: what is said where nothing is found.
        language: whether there is something to look for in rows of language tasks, too.
        images: whether there is something to look for in images.
        lacks: why there is nothing to look for in this data, as in "needs ..."; empty where there is.
    """

    kind: Kind
    find: Callable[[View], Iterator[Finding]]
    title: str
    brief: bool = False
    packages: tuple[str, ...] = ()
    fine: str = "nothing found"
    lacks: Callable[[View], str] = lambda view: ""
    language: bool = True
    images: bool = False


CHECKS: tuple[Check, ...] = (
    Check("duplicates", duplicates.find, "Repeated rows", fine="no split repeats a row", images=True),
    Check(
        "conflicting_labels",
        conflicting_labels.find,
        "One text (or image), several labels",
        fine="equal rows have equal labels",
        language=False,
        images=True,
    ),
    Check(
        "leakage",
        leakage.find,
        "Test rows that the model has seen",
        fine="no row of a test set is in train or validation, and none of validation in train",
        images=True,
    ),
    Check(
        "label_errors",
        label_errors.find,
        "Labels that are likely wrong",
        packages=("cleanlab",),
        fine="no label is likely wrong",
        language=False,
    ),
    Check("near_duplicates", near_duplicates.find, "Nearly repeated rows", fine="no split nearly repeats a row"),
    Check(
        "near_leakage",
        near_leakage.find,
        "Test rows that the model has nearly seen",
        fine="no text of a split is nearly that of an earlier one",
    ),
    Check(
        "encoding",
        encoding.find,
        "Wrongly decoded texts",
        brief=True,
        packages=("ftfy",),
        fine="every text is well decoded",
    ),
    Check("whitespace", whitespace.find, "Needless spaces", fine="no text has needless spaces", language=False),
    Check(
        "language",
        language.find,
        "Texts in another language",
        packages=("py3langid",),
        fine="no text is surely in another language than the others",
    ),
    Check(
        "outliers",
        outliers.find,
        "Unusual texts",
        fine="no text is far longer, shorter or emptier than the others",
        language=False,
    ),
    Check(
        "personal_data",
        personal_data.find,
        "Personal data",
        packages=("presidio_analyzer",),
        fine="no text holds personal data of the kinds that are looked for",
    ),
    Check("truncation", truncation.find, "Texts that are cut", fine="the model reads every text whole"),
    Check(
        "giveaway",
        giveaway.find,
        "What gives the label away",
        fine="the label follows neither from another column, nor from the order of rows, nor is it named in texts",
        language=False,
    ),
    Check(
        "imbalance",
        imbalance.find,
        "Classes of unequal size",
        brief=True,
        fine="every class has rows enough in every split",
        images=True,
        lacks=imbalance.lacks,
        language=False,
    ),
    Check(
        "coverage",
        coverage.find,
        "Groups of sensitive columns",
        brief=True,
        fine="every group has rows enough, and label rates differ by no more than chance",
        images=True,
        lacks=coverage.lacks,
        language=False,
    ),
)
